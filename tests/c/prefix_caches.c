/* Known prefixes are found by their tokens. */
#include "test.h"

TEST(a_known_prefix_is_found) {
  kvcache_model *model = load_plain(), *other_model = load_plain();
  kvcache_prefix_cache_options options = {0};
  kvcache_prefix_cache *cache = NULL;
  options.struct_size = sizeof options;
  OK(kvcache_prefix_cache_new(model, &options, &cache));
  kvcache_sequence *sequence = new_sequence(model), *found = NULL;
  const int64_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  size_t length = 0;
  extend_and_drop(sequence, tokens, 8); /* two blocks */
  OK(kvcache_prefix_cache_insert(cache, sequence));
  kvcache_sequence_destroy(sequence);
  OK(kvcache_prefix_cache_longest_match(cache, tokens, 9, &length));
  CHECK_EQUAL(length, 8);
  OK(kvcache_prefix_cache_acquire(cache, tokens, 9, &found));
  CHECK(has_tokens(found, tokens, 8));
  kvcache_logits *logits = extend(found, tokens + 8, 1);
  CHECK(follows(model, tokens, 9, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(found);

  kvcache_prefix_cache_stats stats = {0};
  stats.struct_size = sizeof stats;
  OK(kvcache_prefix_cache_get_stats(cache, &stats));
  CHECK_EQUAL(stats.hits, 1);
  CHECK_EQUAL(stats.misses, 0);
  CHECK_EQUAL(stats.tokens_reused, 8);
  CHECK_EQUAL(stats.blocks, 2);
  OK(kvcache_prefix_cache_clear(cache));
  OK(kvcache_prefix_cache_longest_match(cache, tokens, 9, &length));
  CHECK_EQUAL(length, 0);

  FAILS(kvcache_prefix_cache_acquire(cache, tokens, 0, &found), KVCACHE_ERROR_EMPTY_INPUT,
        "no tokens were given");
  CHECK(found == NULL);
  sequence = new_sequence(other_model);
  FAILS(kvcache_prefix_cache_insert(cache, sequence), KVCACHE_ERROR_INVALID_ARGUMENT,
        "another model");
  kvcache_sequence_destroy(sequence);
  kvcache_prefix_cache_destroy(cache);
  kvcache_model_destroy(other_model);
  kvcache_model_destroy(model);
}
