#include "inference/tree_checks.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/throw_error.hpp"

namespace kvcache::inference {
namespace {

/// Tokens on the longest path, after checking that parents come before their children.
std::size_t check_parents(const TokenTree& tree) {
  if (tree.parents.size() != tree.tokens.size()) {
    throw_error(ErrorCode::invalid_argument, "the tree has {} tokens and {} parents; one each",
                tree.tokens.size(), tree.parents.size());
  }
  std::vector<std::size_t> depths;
  depths.reserve(tree.parents.size());
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

}  // namespace

void check_tree(const SequenceState& prefix, const TokenTree& tree,
                std::span<const std::size_t> chosen) {
  const std::size_t deepest = check_parents(tree);
  for (const std::size_t node : chosen) {
    if (node == TokenTree::kPrefix) {
      if (prefix.tokens.empty()) {
        throw_error(ErrorCode::invalid_argument,
                    "the logits after the prefix were asked for, which is empty; extend it first");
      }
      if (!prefix.repeats_last()) {
        throw_error(ErrorCode::invalid_argument,
                    "the logits after the prefix were asked for, whose last token was computed "
                    "before {} tokens left the window, and is another without them; ask for the "
                    "tree's nodes alone, or extend the prefix first",
                    prefix.left.count);
      }
    } else if (node >= tree.tokens.size()) {
      throw_error(ErrorCode::invalid_argument,
                  "logits of node {} were asked for, the tree has {} nodes", node,
                  tree.tokens.size());
    }
  }
  if (tree.tokens.empty() && asks_for_prefix(chosen)) {
    return;
  }
  prefix.engine->check_token_ids(tree.tokens);
  prefix.engine->check_room(deepest, prefix.next_position());
}

bool asks_for_prefix(std::span<const std::size_t> chosen) noexcept {
  return std::ranges::find(chosen, TokenTree::kPrefix) != chosen.end();
}

}  // namespace kvcache::inference
