/* Sequences: what they compute is what the same tokens give from nothing, to the last bit. */
#include "test.h"

TEST(extended_in_parts) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {28, 23, 46, 35, 7, 73, 17, 89};
  kvcache_logits *logits = NULL;
  OK(kvcache_sequence_extend(sequence, tokens, 5, KVCACHE_LOGITS_FOR_LAST, &logits));
  size_t rows = 0, vocab_size = 0;
  OK(kvcache_logits_rows(logits, &rows));
  OK(kvcache_logits_vocab_size(logits, &vocab_size));
  CHECK_EQUAL(rows, 1);
  CHECK_EQUAL(vocab_size, VOCAB_SIZE);
  CHECK(follows(model, tokens, 5, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  logits = extend(sequence, tokens + 5, 3);
  OK(kvcache_logits_rows(logits, &rows));
  CHECK_EQUAL(rows, 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(follows(model, tokens, 6 + i, row_of(logits, i)));
  }
  int64_t best = -1;
  OK(kvcache_logits_argmax(logits, 2, &best));
  CHECK_EQUAL(best, 65); /* Hugging Face's, of tests/goldens/plain/golden.json */
  CHECK(has_tokens(sequence, tokens, 8));
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}

TEST(wrong_tokens_change_nothing) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {9, VOCAB_SIZE, -1};
  kvcache_logits *logits = (kvcache_logits *)model;
  extend_and_drop(sequence, tokens, 1);
  FAILS(kvcache_sequence_extend(sequence, tokens, 0, 0, &logits), KVCACHE_ERROR_EMPTY_INPUT,
        "no tokens were given");
  FAILS(kvcache_sequence_extend(sequence, NULL, 0, 0, &logits), KVCACHE_ERROR_EMPTY_INPUT,
        "no tokens were given");
  FAILS(kvcache_sequence_extend(sequence, tokens + 1, 1, 0, &logits),
        KVCACHE_ERROR_TOKEN_OUT_OF_RANGE, "token 0 of the input is 97, must be in [0, 97)");
  FAILS(kvcache_sequence_extend(sequence, tokens + 2, 1, 0, &logits),
        KVCACHE_ERROR_TOKEN_OUT_OF_RANGE, "token 0 of the input is -1");
  FAILS(kvcache_sequence_extend(sequence, NULL, 1, 0, &logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "kvcache_sequence_extend: tokens is NULL, must point to");
  FAILS(kvcache_sequence_extend(sequence, tokens, 1, 2, &logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "logits_for is 2, must be KVCACHE_LOGITS_FOR_LAST (0) or KVCACHE_LOGITS_FOR_ALL (1)");
  /* Numbers of tokens that are not there are refused before one is read. */
  FAILS(kvcache_sequence_extend(sequence, tokens, SIZE_MAX, 0, &logits),
        KVCACHE_ERROR_INVALID_ARGUMENT, "elements of tokens were given, which no memory can hold");
  FAILS(kvcache_sequence_extend(sequence, tokens, PTRDIFF_MAX / 8, 0, &logits),
        KVCACHE_ERROR_CONTEXT_FULL, "tokens do not fit");
  FAILS(kvcache_model_forward_without_cache(model, tokens, PTRDIFF_MAX / 8, 0, &logits),
        KVCACHE_ERROR_CONTEXT_FULL, "tokens do not fit");
  FAILS(kvcache_model_forward_without_cache(model, tokens, 0, 0, &logits),
        KVCACHE_ERROR_EMPTY_INPUT, "no tokens were given");
  CHECK(logits == NULL);
  CHECK(has_tokens(sequence, tokens, 1));
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}

TEST(forked_and_rewound) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model), *fork = NULL;
  const int64_t tokens[] = {1, 2, 3, 4, 5, 6, 7};
  extend_and_drop(sequence, tokens, 6);
  const size_t before = blocks_in_use(model);
  OK(kvcache_sequence_fork(sequence, &fork));
  CHECK_EQUAL(blocks_in_use(model), before);
  OK(kvcache_sequence_rewind(sequence, 2));
  CHECK_EQUAL(length_of(sequence), 2);
  CHECK(has_tokens(fork, tokens, 6));
  kvcache_logits *logits = extend(fork, tokens + 6, 1);
  CHECK(follows(model, tokens, 7, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  FAILS(kvcache_sequence_rewind(sequence, 3), KVCACHE_ERROR_INVALID_ARGUMENT,
        "cannot rewind to 3 tokens, the sequence has 2");
  CHECK(has_tokens(sequence, tokens, 2));
  bool can = false, fits = false;
  size_t first = 9;
  OK(kvcache_sequence_can_rewind_to(sequence, 2, &can));
  CHECK(can);
  OK(kvcache_sequence_can_rewind_to(sequence, 3, &can));
  CHECK(!can);
  OK(kvcache_sequence_fits(sequence, MAX_SEQ_LEN - 2, &fits));
  CHECK(fits);
  OK(kvcache_sequence_fits(sequence, MAX_SEQ_LEN - 1, &fits));
  CHECK(!fits);
  OK(kvcache_sequence_first_cached(sequence, &first));
  CHECK_EQUAL(first, 0);
  OK(kvcache_sequence_reset(sequence));
  CHECK_EQUAL(length_of(sequence), 0);
  kvcache_sequence_destroy(fork);
  kvcache_sequence_destroy(sequence);
  CHECK_EQUAL(blocks_in_use(model), 0);
  OK(kvcache_model_check_cache_invariants(model));
  kvcache_model_destroy(model);
}

TEST(extended_by_its_own_tokens) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {8, 9, 8, 9};
  const int64_t *own = NULL;
  size_t count = 0;
  extend_and_drop(sequence, tokens, 2);
  OK(kvcache_sequence_tokens(sequence, &own, &count));
  kvcache_logits *logits = extend(sequence, own, count);
  CHECK(has_tokens(sequence, tokens, 4));
  CHECK(follows(model, tokens, 4, row_of(logits, 1)));
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}

TEST(saved_and_loaded) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model), *loaded = NULL;
  const int64_t tokens[] = {3, 1, 4, 1, 5, 9};
  const char *path = temporary_path();
  extend_and_drop(sequence, tokens, 5);
  OK(kvcache_sequence_save(sequence, path));
  OK(kvcache_model_load_sequence(model, path, &loaded));
  CHECK(has_tokens(loaded, tokens, 5));
  kvcache_logits *logits = extend(loaded, tokens + 5, 1);
  CHECK(follows(model, tokens, 6, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(loaded);
  FAILS(kvcache_sequence_save(sequence, "/no/such/folder/state"), KVCACHE_ERROR_STATE_NOT_SAVED,
        "/no/such/folder");
  FAILS(kvcache_model_load_sequence(model, "/no/such/state", &loaded), KVCACHE_ERROR_STATE_INVALID,
        "/no/such/state");
  CHECK(loaded == NULL);
  FILE *file = fopen(path, "wb");
  CHECK(file != NULL && fputs("no state", file) >= 0 && fclose(file) == 0);
  FAILS(kvcache_model_load_sequence(model, path, &loaded), KVCACHE_ERROR_STATE_INVALID, path);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}
