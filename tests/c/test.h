/* What the tests of kvcache.h from C share. A test ends at the first check that fails. */
#ifndef KVCACHE_TESTS_C_TEST_H
#define KVCACHE_TESTS_C_TEST_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvcache.h"

#define SKIPPED 77 /* the exit status that CMakeLists.txt knows */

typedef struct test {
  const char *name;
  void (*run)(void);
  struct test *next;
} test;

void add_test(test *added);

/* TEST(name) { … }, found by its name at the beginning of a line. */
#define TEST(name)                                                                           \
  static void run_##name(void);                                                              \
  static test test_##name = {#name, run_##name, NULL};                                       \
  __attribute__((constructor)) static void add_test_##name(void) { add_test(&test_##name); } \
  static void run_##name(void)

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

#define CHECK_EQUAL(found, expected)                                                               \
  do {                                                                                             \
    const intmax_t found_ = (intmax_t)(found), expected_ = (intmax_t)(expected);                   \
    if (found_ != expected_) {                                                                     \
      fprintf(stderr, "%s:%d: %s is %" PRIdMAX ", not %" PRIdMAX "\n", __FILE__, __LINE__, #found, \
              found_, expected_);                                                                  \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

/* A call that must succeed. */
#define OK(call) check_ok(call, #call, __FILE__, __LINE__)
void check_ok(kvcache_status status, const char *call, const char *file, int line);

/* A call that must fail with this status and a message that holds this text. */
#define FAILS(call, status, text) check_fails(call, status, text, #call, __FILE__, __LINE__)
void check_fails(kvcache_status found, kvcache_status expected, const char *text, const char *call,
                 const char *file, int line);

/* The directory of a model of tests/goldens. */
const char *model_path(const char *name);

/* "plain": GPT-2 with 2 layers, 97 tokens and 64 positions; blocks of 4 tokens, freed ones hold
 * NaN. */
#define VOCAB_SIZE 97
#define MAX_SEQ_LEN 64
kvcache_model *load_plain(void);

kvcache_sequence *new_sequence(const kvcache_model *model);

/* Appends tokens; the logits of all of them. */
kvcache_logits *extend(kvcache_sequence *sequence, const int64_t *tokens, size_t num_tokens);
void extend_and_drop(kvcache_sequence *sequence, const int64_t *tokens, size_t num_tokens);

/* A row, [VOCAB_SIZE]. */
const float *row_of(const kvcache_logits *logits, size_t row);

size_t length_of(const kvcache_sequence *sequence);
int has_tokens(const kvcache_sequence *sequence, const int64_t *tokens, size_t num_tokens);
size_t blocks_in_use(const kvcache_model *model);

/* Whether a row is, to the last bit, what these tokens give when they are computed from nothing. */
int follows(const kvcache_model *model, const int64_t *tokens, size_t num_tokens, const float *row);

/* A new file, which goes when the test ends; one of a test. */
const char *temporary_path(void);

/* Random numbers. The seed is printed, and taken from KVCACHE_TEST_SEED where that is set. */
typedef struct {
  uint64_t state;
} random_numbers;
random_numbers new_random(void);
size_t below(random_numbers *numbers, size_t limit);

#endif
