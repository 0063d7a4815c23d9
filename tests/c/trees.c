/* Trees: evaluated, committed, and what is refused. random_histories has the results. */
#include "test.h"

TEST(a_tree_is_committed) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t prefix[] = {1, 2, 3}, tokens[] = {5, 6, 7};
  const int64_t expected[] = {1, 2, 3, 5, 7, 8};
  const int32_t parents[] = {-1, -1, 0};
  extend_and_drop(sequence, prefix, 3);
  kvcache_tree_evaluation *tree = NULL;
  OK(kvcache_sequence_evaluate(sequence, tokens, parents, 3, NULL, 0, &tree));
  FAILS(kvcache_sequence_commit(sequence, tree, 3), KVCACHE_ERROR_INVALID_ARGUMENT,
        "cannot commit node 3: the tree has 3 nodes");
  CHECK(has_tokens(sequence, prefix, 3));
  OK(kvcache_sequence_commit(sequence, tree, 2));
  CHECK(has_tokens(sequence, expected, 5));
  FAILS(kvcache_sequence_commit(sequence, tree, 1), KVCACHE_ERROR_INVALID_ARGUMENT,
        "cannot commit node 1: the tree was evaluated after 3 tokens");
  kvcache_tree_evaluation_destroy(tree);
  kvcache_logits *logits = extend(sequence, expected + 5, 1);
  CHECK(follows(model, expected, 6, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}

TEST(the_prefix_alone) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t prefix[] = {1, 2, 3};
  const size_t nodes[] = {KVCACHE_PREFIX_NODE};
  kvcache_tree_evaluation *tree = NULL;
  FAILS(kvcache_sequence_evaluate(sequence, NULL, NULL, 0, nodes, 1, &tree),
        KVCACHE_ERROR_INVALID_ARGUMENT,
        "the logits after the prefix were asked for, which is empty");
  extend_and_drop(sequence, prefix, 3);
  kvcache_logits *logits = NULL;
  OK(kvcache_sequence_evaluate(sequence, NULL, NULL, 0, nodes, 1, &tree));
  OK(kvcache_tree_evaluation_logits(tree, &logits));
  CHECK(follows(model, prefix, 3, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  kvcache_tree_evaluation_destroy(tree);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}

TEST(wrong_trees) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t prefix[] = {1, 2, 3}, tokens[] = {5, 6}, unknown[] = {5, VOCAB_SIZE};
  const int32_t parents[] = {-1, 0}, later[] = {1, -1}, below_prefix[] = {-2, -1};
  const size_t nodes[] = {2};
  kvcache_tree_evaluation *tree = (kvcache_tree_evaluation *)model;
  extend_and_drop(sequence, prefix, 3);
  const size_t before = blocks_in_use(model);
  FAILS(kvcache_sequence_evaluate(sequence, tokens, parents, 0, NULL, 0, &tree),
        KVCACHE_ERROR_EMPTY_INPUT, "no tokens were given");
  FAILS(kvcache_sequence_evaluate(sequence, tokens, later, 2, NULL, 0, &tree),
        KVCACHE_ERROR_INVALID_ARGUMENT, "node 0 of the tree has parent 1, must be an earlier node");
  FAILS(kvcache_sequence_evaluate(sequence, tokens, below_prefix, 2, NULL, 0, &tree),
        KVCACHE_ERROR_INVALID_ARGUMENT, "node 0 of the tree has parent -2");
  FAILS(kvcache_sequence_evaluate(sequence, unknown, parents, 2, NULL, 0, &tree),
        KVCACHE_ERROR_TOKEN_OUT_OF_RANGE, "token 1 of the input is 97");
  FAILS(kvcache_sequence_evaluate(sequence, tokens, parents, 2, nodes, 1, &tree),
        KVCACHE_ERROR_INVALID_ARGUMENT, "logits of node 2 were asked for, the tree has 2 nodes");
  FAILS(kvcache_sequence_evaluate(sequence, tokens, NULL, 2, NULL, 0, &tree),
        KVCACHE_ERROR_INVALID_ARGUMENT, "kvcache_sequence_evaluate: parents is NULL");
  FAILS(kvcache_sequence_evaluate(sequence, tokens, parents, 2, NULL, 1, &tree),
        KVCACHE_ERROR_INVALID_ARGUMENT, "kvcache_sequence_evaluate: nodes is NULL");
  FAILS(kvcache_sequence_evaluate(sequence, tokens, parents, 2, nodes, SIZE_MAX, &tree),
        KVCACHE_ERROR_INVALID_ARGUMENT, "elements of nodes were given, which no memory can hold");
  /* More nodes than the cache has room for are refused before one is read. */
  FAILS(kvcache_sequence_evaluate(sequence, tokens, parents, SIZE_MAX, NULL, 0, &tree),
        KVCACHE_ERROR_CACHE_FULL, "the model's cache has room for");
  FAILS(kvcache_sequence_evaluate(sequence, tokens, parents, 1000000, NULL, 0, &tree),
        KVCACHE_ERROR_CACHE_FULL, "the tree has 1000000 nodes");
  CHECK(tree == NULL);
  CHECK_EQUAL(blocks_in_use(model), before);
  CHECK(has_tokens(sequence, prefix, 3));
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}
