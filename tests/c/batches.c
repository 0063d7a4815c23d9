/* Batches: ragged ones in one run, element by element as alone; and what is refused. */
#include "test.h"

static kvcache_extension extension(kvcache_sequence *sequence, const int64_t *tokens, size_t count,
                                   kvcache_logits_for logits_for) {
  kvcache_extension made = {0};
  made.struct_size = sizeof made;
  made.sequence = sequence;
  made.tokens = tokens;
  made.num_tokens = count;
  made.logits_for = logits_for;
  return made;
}

TEST(sequences_are_extended_in_one_run) {
  kvcache_model *model = load_plain();
  kvcache_sequence *first = new_sequence(model), *second = new_sequence(model);
  const int64_t tokens[] = {11, 12, 13, 14};
  kvcache_logits *logits[2] = {NULL, NULL};
  extend_and_drop(second, tokens, 2);
  const kvcache_extension batch[] = {extension(first, tokens, 3, KVCACHE_LOGITS_FOR_LAST),
                                     extension(second, tokens + 2, 2, KVCACHE_LOGITS_FOR_ALL)};
  OK(kvcache_extend(batch, 2, logits));
  CHECK(follows(model, tokens, 3, row_of(logits[0], 0)));
  CHECK(follows(model, tokens, 3, row_of(logits[1], 0)));
  CHECK(follows(model, tokens, 4, row_of(logits[1], 1)));
  kvcache_logits_destroy(logits[0]);
  CHECK(follows(model, tokens, 4, row_of(logits[1], 1)));
  kvcache_logits_destroy(logits[1]);
  kvcache_sequence_destroy(first);
  kvcache_sequence_destroy(second);
  kvcache_model_destroy(model);
}

TEST(wrong_batches_change_nothing) {
  kvcache_model *model = load_plain();
  kvcache_sequence *first = new_sequence(model), *second = new_sequence(model);
  const int64_t tokens[] = {11, 12, VOCAB_SIZE};
  kvcache_logits *logits[2] = {(kvcache_logits *)model, (kvcache_logits *)model};
  kvcache_extension batch[2];
  FAILS(kvcache_extend(NULL, 0, NULL), KVCACHE_ERROR_EMPTY_INPUT, "the batch is empty");
  FAILS(kvcache_extend(NULL, 2, logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "kvcache_extend: batch is NULL");
  CHECK(logits[0] == NULL && logits[1] == NULL);
  batch[0] = extension(first, tokens, 1, 0);
  batch[1] = extension(second, tokens, 3, 0);
  FAILS(kvcache_extend(batch, 2, logits), KVCACHE_ERROR_TOKEN_OUT_OF_RANGE, "token 2 of the input");
  batch[1] = extension(first, tokens, 1, 0);
  FAILS(kvcache_extend(batch, 2, logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "element 1 of the batch is a sequence that occurs before");
  batch[1] = extension(NULL, tokens, 1, 0);
  FAILS(kvcache_extend(batch, 2, logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "sequence of an element is NULL");
  batch[1] = extension(second, tokens, 1, 0);
  batch[1].struct_size += 8;
  FAILS(kvcache_extend(batch, 2, logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "struct_size of element 1 of the batch is 48, must be that of element 0, 40");
  batch[1] = extension(second, tokens, 1, 0);
  batch[1].reserved = 1;
  FAILS(kvcache_extend(batch, 2, logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "reserved of element 1 of the batch is 1, must be 0");
  FAILS(kvcache_extend(batch, SIZE_MAX, logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "elements, must have at most 1048576");
  CHECK_EQUAL(length_of(first) + length_of(second), 0);
  CHECK(logits[0] == NULL && logits[1] == NULL);
  CHECK_EQUAL(blocks_in_use(model), 0);
  kvcache_sequence_destroy(first);
  kvcache_sequence_destroy(second);
  kvcache_model_destroy(model);
}

TEST(trees_are_evaluated_in_one_run) {
  kvcache_model *model = load_plain(), *other_model = load_plain();
  kvcache_sequence *sequence = new_sequence(model), *other = new_sequence(other_model);
  const int64_t tokens[] = {21, 22, 23};
  const int32_t chain[] = {-1, 0, 1};
  const size_t last[] = {2};
  kvcache_tree_evaluation *trees[2] = {NULL, NULL};
  kvcache_logits *logits = NULL;
  kvcache_tree_of_prefix batch[2] = {{0}};
  extend_and_drop(sequence, tokens, 1);
  batch[0].struct_size = batch[1].struct_size = sizeof batch[0];
  batch[0].prefix = batch[1].prefix = sequence;
  batch[0].tokens = tokens + 1;
  batch[0].parents = chain;
  batch[0].num_tokens = 2;
  batch[1].tokens = tokens;
  batch[1].parents = chain;
  batch[1].num_tokens = 3;
  batch[1].nodes = last;
  batch[1].num_nodes = 1;
  OK(kvcache_evaluate(batch, 2, trees));
  OK(kvcache_tree_evaluation_logits(trees[0], &logits));
  CHECK(follows(model, tokens, 3, row_of(logits, 1)));
  kvcache_logits_destroy(logits);
  OK(kvcache_tree_evaluation_logits(trees[1], &logits));
  const int64_t repeated[] = {21, 21, 22, 23};
  CHECK(follows(model, repeated, 4, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  OK(kvcache_sequence_commit(sequence, trees[0], 1));
  CHECK(has_tokens(sequence, tokens, 3));
  kvcache_tree_evaluation_destroy(trees[0]);
  kvcache_tree_evaluation_destroy(trees[1]);

  batch[1].prefix = other;
  FAILS(kvcache_evaluate(batch, 2, trees), KVCACHE_ERROR_INVALID_ARGUMENT,
        "element 1 of the batch has a prefix of another model");
  CHECK(trees[0] == NULL && trees[1] == NULL);
  FAILS(kvcache_evaluate(batch, 0, trees), KVCACHE_ERROR_EMPTY_INPUT, "the batch is empty");
  batch[1].prefix = NULL;
  FAILS(kvcache_evaluate(batch, 2, trees), KVCACHE_ERROR_INVALID_ARGUMENT,
        "prefix of an element is NULL");
  kvcache_sequence_destroy(sequence);
  kvcache_sequence_destroy(other);
  kvcache_model_destroy(model);
  kvcache_model_destroy(other_model);
}
