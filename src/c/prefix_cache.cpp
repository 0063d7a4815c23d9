// Prefix caches of kvcache.h.
#include "kvcache/prefix_cache.hpp"

#include "c/boundary.hpp"
#include "c/handles.hpp"
#include "c/structs.hpp"

using namespace kvcache::c;

kvcache_status kvcache_prefix_cache_new(const kvcache_model* model,
                                        const kvcache_prefix_cache_options* options,
                                        kvcache_prefix_cache** cache) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_prefix_cache*& made = result(call, cache, "cache");
    const kvcache::Model& of = call.needed(model, "model").model;
    kvcache_prefix_cache_options given{.struct_size = sizeof given, .max_bytes = 0};
    if (options != nullptr) {
      given = read_struct(call, options, "options", given);
    }
    made = new_handle<kvcache_prefix_cache>(
        kvcache::PrefixCache(of, {.max_bytes = given.max_bytes}), of);
  });
}

void kvcache_prefix_cache_destroy(kvcache_prefix_cache* cache) noexcept { delete cache; }

kvcache_status kvcache_prefix_cache_acquire(kvcache_prefix_cache* cache, const int64_t* tokens,
                                            size_t num_tokens,
                                            kvcache_sequence** sequence) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_sequence*& made = result(call, sequence, "sequence");
    kvcache_prefix_cache& known = call.needed(cache, "cache");
    made = new_handle<kvcache_sequence>(
        known.cache.acquire(call.elements(tokens, num_tokens, "tokens")), known.model);
  });
}

kvcache_status kvcache_prefix_cache_longest_match(const kvcache_prefix_cache* cache,
                                                  const int64_t* tokens, size_t num_tokens,
                                                  size_t* length) noexcept {
  return guard(__func__, [&](const Call& call) {
    std::size_t& answer = call.needed(length, "length");
    answer = call.needed(cache, "cache")
                 .cache.longest_match(call.elements(tokens, num_tokens, "tokens"));
  });
}

kvcache_status kvcache_prefix_cache_insert(kvcache_prefix_cache* cache,
                                           const kvcache_sequence* sequence) noexcept {
  return guard(__func__, [&](const Call& call) {
    call.needed(cache, "cache").cache.insert(call.needed(sequence, "sequence").sequence);
  });
}

kvcache_status kvcache_prefix_cache_clear(kvcache_prefix_cache* cache) noexcept {
  return guard(__func__, [&](const Call& call) { call.needed(cache, "cache").cache.clear(); });
}

kvcache_status kvcache_prefix_cache_get_stats(const kvcache_prefix_cache* cache,
                                              kvcache_prefix_cache_stats* stats) noexcept {
  return guard(__func__, [&](const Call& call) {
    const kvcache::PrefixCacheStats found = call.needed(cache, "cache").cache.stats();
    answer_struct(call, stats, "stats",
                  kvcache_prefix_cache_stats{.struct_size = sizeof(kvcache_prefix_cache_stats),
                                             .hits = found.hits,
                                             .misses = found.misses,
                                             .tokens_reused = found.tokens_reused,
                                             .blocks_evicted = found.blocks_evicted,
                                             .blocks = found.blocks,
                                             .bytes = found.bytes});
  });
}
