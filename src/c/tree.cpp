// Trees of kvcache.h: evaluated alone and in batches, and committed.
#include "kvcache/tree.hpp"

#include <vector>

#include "c/batch.hpp"
#include "c/boundary.hpp"
#include "c/handles.hpp"

namespace kvcache::c {
namespace {

/// Refuses a tree that the whole cache could not hold, before any of it is read.
void check_size(const Call& call, const Model& model, std::size_t num_tokens) {
  if (num_tokens <= model.info().max_seq_len) {
    return;  // asked first, for it costs nothing
  }
  const CacheStats stats = model.cache_stats();
  if (num_tokens / stats.block_len > stats.blocks_limit) {
    throw_error(ErrorCode::cache_full,
                "{}: the tree has {} nodes, the model's cache has room for {} tokens; give fewer "
                "nodes, or load the model with more cache_bytes",
                call.function(), num_tokens, stats.blocks_limit * stats.block_len);
  }
}

TokenTree to_tree(const Call& call, const kvcache_sequence& prefix, const int64_t* tokens,
                  const int32_t* parents, std::size_t num_tokens) {
  check_size(call, prefix.model, num_tokens);
  const std::span<const TokenId> of_nodes = call.elements(tokens, num_tokens, "tokens");
  const std::span<const std::int32_t> above = call.elements(parents, num_tokens, "parents");
  return {{of_nodes.begin(), of_nodes.end()}, {above.begin(), above.end()}};
}

/// The trees of a batch, which C++ takes by reference, and what asks for them.
struct Trees {
  std::vector<TokenTree> trees;
  std::vector<TreeOfPrefix> batch;
};

Trees to_trees(const Call& call, std::span<const kvcache_tree_of_prefix> elements) {
  Trees made;
  made.trees.reserve(elements.size());
  made.batch.reserve(elements.size());
  for (const kvcache_tree_of_prefix& element : elements) {
    const kvcache_sequence& prefix = call.needed(element.prefix, "prefix of an element");
    made.trees.push_back(
        to_tree(call, prefix, element.tokens, element.parents, element.num_tokens));
    made.batch.push_back({.prefix = &prefix.sequence,
                          .tree = &made.trees.back(),
                          .nodes = call.elements(element.nodes, element.num_nodes, "nodes")});
  }
  return made;
}

}  // namespace
}  // namespace kvcache::c

using namespace kvcache::c;

kvcache_status kvcache_sequence_evaluate(const kvcache_sequence* sequence, const int64_t* tokens,
                                         const int32_t* parents, size_t num_tokens,
                                         const size_t* nodes, size_t num_nodes,
                                         kvcache_tree_evaluation** evaluation) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_tree_evaluation*& made = result(call, evaluation, "evaluation");
    const kvcache_sequence& prefix = call.needed(sequence, "sequence");
    const kvcache::TokenTree tree = to_tree(call, prefix, tokens, parents, num_tokens);
    made = new_handle<kvcache_tree_evaluation>(
        prefix.sequence.evaluate(tree, call.elements(nodes, num_nodes, "nodes")));
  });
}

kvcache_status kvcache_sequence_commit(kvcache_sequence* sequence,
                                       const kvcache_tree_evaluation* evaluation,
                                       size_t node) noexcept {
  return guard(__func__, [&](const Call& call) {
    call.needed(sequence, "sequence")
        .sequence.commit(*call.needed(evaluation, "evaluation").evaluation, node);
  });
}

kvcache_status kvcache_tree_evaluation_logits(const kvcache_tree_evaluation* evaluation,
                                              kvcache_logits** logits) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_logits*& made = result(call, logits, "logits");
    made = new_handle<kvcache_logits>(call.needed(evaluation, "evaluation").evaluation->logits());
  });
}

void kvcache_tree_evaluation_destroy(kvcache_tree_evaluation* evaluation) noexcept {
  delete evaluation;
}

kvcache_status kvcache_evaluate(const kvcache_tree_of_prefix* batch, size_t size,
                                kvcache_tree_evaluation** evaluations) noexcept {
  return guard(__func__, [&](const Call& call) {
    Results results(call, evaluations, size, "evaluations");
    const Trees trees = to_trees(call, read_batch(call, batch, size));
    results.give(kvcache::evaluate(trees.batch), &kvcache_tree_evaluation::evaluation);
  });
}
