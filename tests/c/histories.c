/* Random histories of sequences that share blocks: whatever came before, each row of logits is, to
 * the last bit, what the same tokens give from nothing. */
#include "test.h"

enum { SEQUENCES = 4, STEPS = 300 };

typedef struct {
  kvcache_sequence *sequence;
  int64_t tokens[MAX_SEQ_LEN]; /* that it must have */
  size_t length;
} history;

static size_t draw_tokens(random_numbers *numbers, size_t most, int64_t *tokens) {
  const size_t count = 1 + below(numbers, most);
  for (size_t i = 0; i < count; ++i) {
    tokens[i] = (int64_t)below(numbers, VOCAB_SIZE);
  }
  return count;
}

static size_t room_of(const history *of, size_t most) {
  const size_t room = MAX_SEQ_LEN - of->length;
  return room < most ? room : most;
}

static void append(history *to, const int64_t *tokens, size_t count) {
  memcpy(to->tokens + to->length, tokens, count * sizeof *tokens);
  to->length += count;
}

static void grow(const kvcache_model *model, random_numbers *numbers, history *of) {
  int64_t tokens[8];
  if (room_of(of, 8) == 0) {
    return;
  }
  const size_t count = draw_tokens(numbers, room_of(of, 8), tokens);
  kvcache_logits *logits = extend(of->sequence, tokens, count);
  append(of, tokens, count);
  for (size_t i = 0; i < count; ++i) {
    CHECK(follows(model, of->tokens, of->length - count + i + 1, row_of(logits, i)));
  }
  kvcache_logits_destroy(logits);
}

static void shrink(random_numbers *numbers, history *of) {
  of->length = below(numbers, of->length + 1);
  OK(kvcache_sequence_rewind(of->sequence, of->length));
}

static void fork_onto(const history *from, history *to) {
  kvcache_sequence *forked = NULL;
  OK(kvcache_sequence_fork(from->sequence, &forked));
  kvcache_sequence_destroy(to->sequence);
  *to = *from;
  to->sequence = forked;
}

/* A random tree behind one sequence; some nodes' logits; and one path that is kept. */
static void branch(const kvcache_model *model, random_numbers *numbers, history *of) {
  int64_t tokens[6];
  int32_t parents[6];
  size_t chosen[4], rows = 0;
  if (room_of(of, 6) == 0) {
    return;
  }
  const size_t count = draw_tokens(numbers, room_of(of, 6), tokens);
  for (size_t i = 0; i < count; ++i) {
    parents[i] = (int32_t)below(numbers, i + 1) - 1;
  }
  for (size_t i = 0; i < 4; ++i) {
    const size_t drawn = below(numbers, count + 1);
    chosen[i] = drawn < count ? drawn : of->length > 0 ? KVCACHE_PREFIX_NODE : 0;
  }
  const size_t num_chosen = below(numbers, 5); /* none: all */
  kvcache_tree_evaluation *tree = NULL;
  kvcache_logits *logits = NULL;
  OK(kvcache_sequence_evaluate(of->sequence, tokens, parents, count, chosen, num_chosen, &tree));
  OK(kvcache_tree_evaluation_logits(tree, &logits));
  OK(kvcache_logits_rows(logits, &rows));
  CHECK_EQUAL(rows, num_chosen == 0 ? count : num_chosen);
  CHECK(has_tokens(of->sequence, of->tokens, of->length));
  history kept = *of;
  for (size_t row = 0; row < rows; ++row) {
    const size_t node = num_chosen == 0 ? row : chosen[row];
    int64_t path[MAX_SEQ_LEN];
    size_t depth = 0;
    for (int32_t at = node == KVCACHE_PREFIX_NODE ? -1 : (int32_t)node; at >= 0; at = parents[at]) {
      ++depth;
    }
    memcpy(path, of->tokens, of->length * sizeof *path);
    size_t place = of->length + depth;
    for (int32_t at = node == KVCACHE_PREFIX_NODE ? -1 : (int32_t)node; at >= 0; at = parents[at]) {
      path[--place] = tokens[at];
    }
    CHECK(follows(model, path, of->length + depth, row_of(logits, row)));
    if (depth > 0) {
      memcpy(kept.tokens, path, sizeof path);
      kept.length = of->length + depth;
      chosen[0] = node;
    }
  }
  if (kept.length > of->length && below(numbers, 2) == 0) {
    OK(kvcache_sequence_commit(of->sequence, tree, chosen[0]));
    *of = kept;
    CHECK(has_tokens(of->sequence, of->tokens, of->length));
  }
  kvcache_logits_destroy(logits);
  kvcache_tree_evaluation_destroy(tree);
}

TEST(random_histories) {
  random_numbers numbers = new_random();
  kvcache_model *model = load_plain();
  history histories[SEQUENCES] = {{NULL, {0}, 0}};
  for (size_t i = 0; i < SEQUENCES; ++i) {
    histories[i].sequence = new_sequence(model);
  }
  for (size_t step = 0; step < STEPS; ++step) {
    history *of = &histories[below(&numbers, SEQUENCES)];
    switch (below(&numbers, 8)) {
      case 0:
        shrink(&numbers, of);
        break;
      case 1: {
        history *to = &histories[below(&numbers, SEQUENCES)];
        if (to != of) {
          fork_onto(of, to);
        }
        break;
      }
      case 2:
      case 3:
      case 4:
        branch(model, &numbers, of);
        break;
      default:
        grow(model, &numbers, of);
    }
    CHECK(has_tokens(of->sequence, of->tokens, of->length));
  }
  OK(kvcache_model_check_cache_invariants(model));
  for (size_t i = 0; i < SEQUENCES; ++i) {
    kvcache_sequence_destroy(histories[i].sequence);
  }
  CHECK_EQUAL(blocks_in_use(model), 0);
  kvcache_model_destroy(model);
}
