#include "test.h"

#include <time.h>
#include <unistd.h>

static char temporary[4096];

static void remove_temporary(void) { remove(temporary); }

void check_ok(kvcache_status status, const char *call, const char *file, int line) {
  if (status != KVCACHE_OK) {
    fprintf(stderr, "%s:%d: %s: %s: %s\n", file, line, call, kvcache_status_name(status),
            kvcache_last_error_message());
    exit(1);
  }
}

void check_fails(kvcache_status found, kvcache_status expected, const char *text, const char *call,
                 const char *file, int line) {
  const char *message = kvcache_last_error_message();
  if (found != expected) {
    fprintf(stderr, "%s:%d: %s: %s, not %s: %s\n", file, line, call, kvcache_status_name(found),
            kvcache_status_name(expected), message);
    exit(1);
  }
  if (strstr(message, text) == NULL) {
    fprintf(stderr, "%s:%d: %s: the message lacks \"%s\": %s\n", file, line, call, text, message);
    exit(1);
  }
}

const char *model_path(const char *name) {
  static char path[4096];
  const char *models = getenv("KVCACHE_MODELS_DIR");
  const int size =
      snprintf(path, sizeof path, "%s/%s", models == NULL ? KVCACHE_TEST_MODELS_DIR : models, name);
  CHECK(size > 0 && (size_t)size < sizeof path);
  return path;
}

kvcache_model *load_plain(void) {
  kvcache_model_options options;
  kvcache_model *model = NULL;
  OK(kvcache_model_options_init(&options, sizeof options));
  options.block_len = 4;
  options.poison_freed_blocks = 1;
  OK(kvcache_model_load(model_path("plain"), &options, &model));
  return model;
}

kvcache_sequence *new_sequence(const kvcache_model *model) {
  kvcache_sequence *sequence = NULL;
  OK(kvcache_model_new_sequence(model, &sequence));
  return sequence;
}

kvcache_logits *extend(kvcache_sequence *sequence, const int64_t *tokens, size_t num_tokens) {
  kvcache_logits *logits = NULL;
  OK(kvcache_sequence_extend(sequence, tokens, num_tokens, KVCACHE_LOGITS_FOR_ALL, &logits));
  return logits;
}

void extend_and_drop(kvcache_sequence *sequence, const int64_t *tokens, size_t num_tokens) {
  kvcache_logits_destroy(extend(sequence, tokens, num_tokens));
}

const float *row_of(const kvcache_logits *logits, size_t row) {
  const float *values = NULL;
  OK(kvcache_logits_row(logits, row, &values));
  return values;
}

size_t length_of(const kvcache_sequence *sequence) {
  size_t length = 0;
  OK(kvcache_sequence_length(sequence, &length));
  return length;
}

int has_tokens(const kvcache_sequence *sequence, const int64_t *tokens, size_t num_tokens) {
  const int64_t *cached = NULL;
  size_t count = 0;
  OK(kvcache_sequence_tokens(sequence, &cached, &count));
  return count == num_tokens && (count == 0 || memcmp(cached, tokens, count * sizeof *tokens) == 0);
}

size_t blocks_in_use(const kvcache_model *model) {
  kvcache_cache_stats stats = {0};
  stats.struct_size = sizeof stats;
  OK(kvcache_model_get_cache_stats(model, &stats));
  return stats.blocks_in_use;
}

int follows(const kvcache_model *model, const int64_t *tokens, size_t num_tokens,
            const float *row) {
  kvcache_logits *logits = NULL;
  OK(kvcache_model_forward_without_cache(model, tokens, num_tokens, KVCACHE_LOGITS_FOR_LAST,
                                         &logits));
  const int same = memcmp(row_of(logits, 0), row, VOCAB_SIZE * sizeof *row) == 0;
  kvcache_logits_destroy(logits);
  return same;
}

const char *temporary_path(void) {
  char *path = temporary;
  const char *folder = getenv("TMPDIR");
  CHECK(snprintf(path, sizeof temporary, "%s/kvcache_c_XXXXXX", folder == NULL ? "/tmp" : folder) <
        (int)sizeof temporary);
  const int file = mkstemp(path);
  CHECK(file >= 0);
  close(file);
  atexit(remove_temporary);
  return path;
}

random_numbers new_random(void) {
  const char *chosen = getenv("KVCACHE_TEST_SEED");
  random_numbers numbers = {chosen == NULL ? (uint64_t)time(NULL) : strtoull(chosen, NULL, 10)};
  printf("KVCACHE_TEST_SEED=%" PRIu64 "\n", numbers.state);
  fflush(stdout);
  return numbers;
}

/* SplitMix64 (Steele, Lea and Flood, 2014). */
size_t below(random_numbers *numbers, size_t limit) {
  uint64_t mixed = (numbers->state += 0x9E3779B97F4A7C15U);
  mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
  return (size_t)((mixed ^ (mixed >> 31U)) % limit);
}
