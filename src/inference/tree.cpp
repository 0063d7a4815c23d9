// Trees of continuations, as one run.
#include "kvcache/tree.hpp"

#include <algorithm>
#include <utility>

#include "base/rounding.hpp"
#include "base/throw_error.hpp"
#include "inference/run.hpp"
#include "inference/sequence_state.hpp"
#include "kvcache/sequence.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

using inference::EvaluatedTree;
using inference::SequenceState;

/// Tokens on the longest path, after checking that parents come before their children.
std::size_t check_parents(const TokenTree& tree) {
  if (tree.parents.size() != tree.tokens.size()) {
    throw_error(ErrorCode::invalid_argument, "the tree has {} tokens and {} parents; one each",
                tree.tokens.size(), tree.parents.size());
  }
  std::vector<std::size_t> depths;
  std::size_t deepest = 0;
  for (std::size_t i = 0; i < tree.parents.size(); ++i) {
    const std::int32_t parent = tree.parents[i];
    if (parent < -1 || parent >= static_cast<std::int32_t>(i)) {
      throw_error(ErrorCode::invalid_argument,
                  "node {} of the tree has parent {}, must be an earlier node, or -1 for the "
                  "prefix",
                  i, parent);
    }
    depths.push_back(parent < 0 ? 1 : depths[static_cast<std::size_t>(parent)] + 1);
    deepest = std::max(deepest, depths.back());
  }
  return deepest;
}

void check_tree(const SequenceState& prefix, const TokenTree& tree,
                std::span<const std::size_t> chosen) {
  const std::size_t deepest = check_parents(tree);
  for (const std::size_t node : chosen) {
    if (node == TokenTree::kPrefix) {
      if (prefix.tokens.empty()) {
        throw_error(ErrorCode::invalid_argument,
                    "the logits after the prefix were asked for, which is empty; extend it first");
      }
    } else if (node >= tree.tokens.size()) {
      throw_error(ErrorCode::invalid_argument,
                  "logits of node {} were asked for, the tree has {} nodes", node,
                  tree.tokens.size());
    }
  }
  prefix.engine->check_token_ids(tree.tokens);
  prefix.engine->check_room(deepest, prefix.tokens.size());
}

/// A tree as it is run: with the prefix's last token before its nodes where its logits are asked
/// for.
struct TreeToRun {
  bool with_prefix = false;
  TokenTree tree;                  // with_prefix only
  std::vector<std::size_t> nodes;  // the same

  TreeToRun(const SequenceState& prefix, const TreeOfPrefix& element)
      : with_prefix(std::ranges::find(element.nodes, TokenTree::kPrefix) != element.nodes.end()) {
    if (!with_prefix) {
      return;
    }
    tree.tokens.push_back(prefix.tokens.back());
    tree.tokens.insert(tree.tokens.end(), element.tree->tokens.begin(), element.tree->tokens.end());
    tree.parents.push_back(-1);
    for (const std::int32_t parent : element.tree->parents) {
      tree.parents.push_back(parent + 1);
    }
    for (const std::size_t node : element.nodes) {
      nodes.push_back(node + 1);  // kPrefix becomes 0
    }
  }
};

}  // namespace

TreeEvaluation::TreeEvaluation(Logits logits, std::unique_ptr<EvaluatedTree> tree)
    : logits_(std::move(logits)), tree_(std::move(tree)) {}
TreeEvaluation::TreeEvaluation(TreeEvaluation&&) noexcept = default;
TreeEvaluation& TreeEvaluation::operator=(TreeEvaluation&&) noexcept = default;
TreeEvaluation::~TreeEvaluation() = default;

std::vector<TreeEvaluation> evaluate(std::span<const TreeOfPrefix> batch) try {
  if (batch.empty()) {
    throw_error(ErrorCode::empty_input, "the batch is empty; at least one tree is needed");
  }
  for (const TreeOfPrefix& element : batch) {
    if (element.prefix == nullptr || !element.prefix->state_ || element.tree == nullptr) {
      throw_error(ErrorCode::invalid_argument,
                  "element {} of the batch names no tree, or no prefix, or one that was moved away",
                  &element - batch.data());
    }
  }
  const std::shared_ptr<inference::Engine> engine = batch.front().prefix->state_->engine;
  const std::size_t block_len = engine->pool().shape().block_len;
  std::vector<cache::Growth> growths;  // blocks of the trees' own, behind the prefix's
  growths.reserve(batch.size());
  std::vector<TreeToRun> trees;
  trees.reserve(batch.size());
  std::vector<inference::Row> rows;
  rows.reserve(batch.size());
  for (const TreeOfPrefix& element : batch) {
    const SequenceState& prefix = *element.prefix->state_;
    if (prefix.engine != engine) {
      throw_error(ErrorCode::invalid_argument,
                  "element {} of the batch has a prefix of another model than element 0",
                  rows.size());
    }
    check_tree(prefix, *element.tree, element.nodes);
    const TreeToRun& changed = trees.emplace_back(prefix, element);
    const TokenTree& tree = changed.with_prefix ? changed.tree : *element.tree;
    growths.push_back(
        {.writable_last = std::nullopt,
         .added = engine->pool().allocate(round_up(tree.tokens.size(), block_len) / block_len)});
    rows.push_back({.tokens = tree.tokens,
                    .parents = tree.parents,
                    .past_length = prefix.tokens.size() - (changed.with_prefix ? 1 : 0),
                    .append_position = round_up(prefix.tokens.size(), block_len),
                    .table = prefix.table,
                    .growth = growths.back(),
                    .logits_for = LogitsFor::all,
                    .logits_nodes = changed.with_prefix ? changed.nodes : element.nodes});
  }
  const auto lease = inference::run_rows(*engine, rows);

  std::vector<TreeEvaluation> results;
  results.reserve(batch.size());
  std::size_t first = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const std::size_t num_logits = rows[i].num_logits();
    auto evaluated = std::make_unique<EvaluatedTree>(
        EvaluatedTree{.engine = engine,
                      .table = cache::BlockTable(engine->pool()),
                      .prefix = batch[i].prefix->state_->tokens,
                      .tree = *batch[i].tree,
                      .first_place = trees[i].with_prefix ? 1U : 0U});
    evaluated->table.apply(std::move(growths[i]));
    results.emplace_back(Logits(lease, first, num_logits), std::move(evaluated));
    first += num_logits;
  }
  return results;
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace kvcache
