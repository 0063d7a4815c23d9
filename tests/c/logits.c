/* What is asked of logits, against the same computed here from the row. */
#include <math.h>

#include "test.h"

TEST(what_is_asked_of_a_row) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {28, 23, 46};
  kvcache_logits *logits = extend(sequence, tokens, 3);
  for (size_t row = 0; row < 3; ++row) {
    const float *values = row_of(logits, row);
    int64_t best = -1, ranked[VOCAB_SIZE + 3];
    float scores[VOCAB_SIZE + 3], log_probabilities[3];
    size_t count = 0;
    double sum = 0, expected = 0;
    OK(kvcache_logits_argmax(logits, row, &best));
    for (size_t i = 0; i < VOCAB_SIZE; ++i) {
      CHECK(values[i] < values[best] || (int64_t)i >= best);
      expected += exp((double)values[i] / 0.5);
    }
    OK(kvcache_logits_log_sum_exp(logits, row, 0.5, &sum));
    CHECK(fabs(sum - log(expected)) < 1e-6 * fabs(sum));

    OK(kvcache_logits_top_k(logits, row, 5, ranked, scores, &count));
    CHECK_EQUAL(count, 5);
    CHECK_EQUAL(ranked[0], best);
    OK(kvcache_logits_top_k(logits, row, VOCAB_SIZE + 3, ranked, scores, &count));
    CHECK_EQUAL(count, VOCAB_SIZE);
    for (size_t i = 0; i < count; ++i) {
      CHECK(scores[i] == values[ranked[i]]);
      CHECK(i == 0 || scores[i - 1] >= scores[i]);
    }
    OK(kvcache_logits_top_k(logits, row, 0, NULL, NULL, &count));
    CHECK_EQUAL(count, 0);

    OK(kvcache_logits_log_sum_exp(logits, row, 1, &sum));
    OK(kvcache_logits_log_probabilities(logits, row, tokens, 3, log_probabilities));
    for (size_t i = 0; i < 3; ++i) {
      CHECK(fabs(log_probabilities[i] - ((double)values[tokens[i]] - sum)) < 1e-4);
    }
    OK(kvcache_logits_log_probabilities(logits, row, NULL, 0, NULL));
  }
  /* Tokens of all rows at once, the last row first. */
  const size_t rows[3] = {2, 0, 2};
  float of_rows[3];
  OK(kvcache_logits_log_probabilities_of_rows(logits, rows, tokens, 3, of_rows));
  for (size_t i = 0; i < 3; ++i) {
    float alone;
    OK(kvcache_logits_log_probabilities(logits, rows[i], &tokens[i], 1, &alone));
    CHECK(fabsf(of_rows[i] - alone) < 1e-5F);
  }
  OK(kvcache_logits_log_probabilities_of_rows(logits, NULL, NULL, 0, NULL));
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}

TEST(memory_of_logits) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {28, 23, 46};
  kvcache_logits *logits = extend(sequence, tokens, 3);
  kvcache_logits_memory memory = {0};
  memory.struct_size = sizeof memory;
  OK(kvcache_logits_get_memory(logits, &memory));
  CHECK(memory.data == row_of(logits, 0));
  CHECK(row_of(logits, 2) == (const float *)memory.data + (size_t)2 * VOCAB_SIZE);
  CHECK_EQUAL(memory.type, KVCACHE_DATA_TYPE_FLOAT32);
  CHECK_EQUAL(memory.device, KVCACHE_DEVICE_CPU);
  CHECK_EQUAL(memory.on_host, 1);
  /* They stay whatever becomes of the sequence. */
  float before[VOCAB_SIZE];
  memcpy(before, row_of(logits, 1), sizeof before);
  OK(kvcache_sequence_reset(sequence));
  extend_and_drop(sequence, tokens + 1, 2);
  kvcache_sequence_destroy(sequence);
  CHECK(memcmp(before, row_of(logits, 1), sizeof before) == 0);
  kvcache_logits_destroy(logits);
  kvcache_model_destroy(model);
}

TEST(wrong_questions) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {28, VOCAB_SIZE};
  kvcache_logits *logits = extend(sequence, tokens, 1);
  const float *values = (const float *)tokens;
  int64_t token = 42, ranked[1];
  float scores[1];
  double sum = 42;
  size_t count = 42;
  FAILS(kvcache_logits_row(logits, 1, &values), KVCACHE_ERROR_INVALID_ARGUMENT,
        "logits row 1 was asked for, there are 1");
  CHECK(values == NULL);
  FAILS(kvcache_logits_argmax(logits, SIZE_MAX, &token), KVCACHE_ERROR_INVALID_ARGUMENT,
        "there are 1");
  FAILS(kvcache_logits_top_k(logits, 1, 1, ranked, scores, &count), KVCACHE_ERROR_INVALID_ARGUMENT,
        "there are 1");
  FAILS(kvcache_logits_top_k(logits, 0, 1, NULL, scores, &count), KVCACHE_ERROR_INVALID_ARGUMENT,
        "kvcache_logits_top_k: tokens is NULL");
  FAILS(kvcache_logits_log_sum_exp(logits, 0, 0, &sum), KVCACHE_ERROR_INVALID_ARGUMENT,
        "must be above 0 and finite");
  FAILS(kvcache_logits_log_sum_exp(logits, 0, NAN, &sum), KVCACHE_ERROR_INVALID_ARGUMENT,
        "must be above 0 and finite");
  FAILS(kvcache_logits_log_probabilities(logits, 0, tokens, 2, scores),
        KVCACHE_ERROR_TOKEN_OUT_OF_RANGE, "token 97");
  const size_t rows[2] = {0, 1};
  const int64_t first[2] = {0, 0};
  FAILS(kvcache_logits_log_probabilities_of_rows(logits, rows, first, 2, scores),
        KVCACHE_ERROR_INVALID_ARGUMENT, "logits row 1 was asked for, there are 1");
  FAILS(kvcache_logits_log_probabilities_of_rows(logits, NULL, first, 1, scores),
        KVCACHE_ERROR_INVALID_ARGUMENT, "rows is NULL");
  FAILS(kvcache_logits_output(logits, "value", 0, &values, &count), KVCACHE_ERROR_INVALID_ARGUMENT,
        "the model has no output \"value\"");
  CHECK_EQUAL(token, 42);
  CHECK_EQUAL(count, 42);
  CHECK(sum == 42);
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}
