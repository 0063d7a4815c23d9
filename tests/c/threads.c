/* Threads on one model: sequences of their own, one cache, messages of their own. */
#include <pthread.h>

#include "test.h"

enum { THREADS = 4, ROUNDS = 40 };

typedef struct {
  const kvcache_model *model;
  const kvcache_sequence *prefix; /* that all fork */
  size_t number;
} worker;

static void *work(void *argument) {
  const worker *self = argument;
  const int64_t number = (int64_t)self->number;
  CHECK(strcmp(kvcache_last_error_message(), "") == 0);
  for (size_t round = 0; round < ROUNDS; ++round) {
    const int64_t tokens[] = {1, 2, 3, 4, 5, 10 + number, (int64_t)round};
    const int64_t wrong[] = {1000 + number};
    char expected[64];
    kvcache_sequence *fork = NULL;
    kvcache_logits *logits = NULL;
    OK(kvcache_sequence_fork(self->prefix, &fork));
    logits = extend(fork, tokens + 5, 2);
    CHECK(follows(self->model, tokens, 6, row_of(logits, 0)));
    CHECK(follows(self->model, tokens, 7, row_of(logits, 1)));
    kvcache_logits_destroy(logits);
    snprintf(expected, sizeof expected, "token 0 of the input is %d", (int)wrong[0]);
    FAILS(kvcache_sequence_extend(fork, wrong, 1, 0, &logits), KVCACHE_ERROR_TOKEN_OUT_OF_RANGE,
          expected);
    CHECK(has_tokens(fork, tokens, 7));
    kvcache_sequence_destroy(fork);
    CHECK(strstr(kvcache_last_error_message(), expected) != NULL);
  }
  return NULL;
}

TEST(threads_on_one_model) {
  kvcache_model *model = load_plain();
  kvcache_sequence *prefix = new_sequence(model);
  const int64_t tokens[] = {1, 2, 3, 4, 5}; /* ends inside a block, which each fork copies */
  pthread_t threads[THREADS];
  worker workers[THREADS];
  extend_and_drop(prefix, tokens, 5);
  for (size_t i = 0; i < THREADS; ++i) {
    workers[i].model = model;
    workers[i].prefix = prefix;
    workers[i].number = i;
    CHECK_EQUAL(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (size_t i = 0; i < THREADS; ++i) {
    CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
  }
  CHECK(strcmp(kvcache_last_error_message(), "") == 0);
  OK(kvcache_model_check_cache_invariants(model));
  kvcache_sequence_destroy(prefix);
  kvcache_model_destroy(model);
}
