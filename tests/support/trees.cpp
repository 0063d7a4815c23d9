#include "support/trees.hpp"

namespace kvcache::test {

TokenTree random_tree(Random& random, const ModelInfo& info, std::int64_t nodes,
                      std::size_t most_depth) {
  TokenTree tree;
  tree.tokens = random_tokens(random, info, nodes);
  std::vector<std::size_t> depths;
  for (std::int64_t i = 0; i < nodes; ++i) {
    auto parent = static_cast<std::int32_t>(random.integer(-1, i - 1));
    while (parent >= 0 && depths[static_cast<std::size_t>(parent)] >= most_depth) {
      parent = tree.parents[static_cast<std::size_t>(parent)];
    }
    depths.push_back(parent < 0 ? 1 : depths[static_cast<std::size_t>(parent)] + 1);
    tree.parents.push_back(parent);
  }
  return tree;
}

std::vector<TokenId> text_of_node(std::span<const TokenId> prefix, const TokenTree& tree,
                                  std::size_t node) {
  std::vector<TokenId> path;
  for (auto at = static_cast<std::int32_t>(node); at >= 0;
       at = tree.parents[static_cast<std::size_t>(at)]) {
    path.push_back(tree.tokens[static_cast<std::size_t>(at)]);
  }
  std::vector<TokenId> text(prefix.begin(), prefix.end());
  text.insert(text.end(), path.rbegin(), path.rend());
  return text;
}

}  // namespace kvcache::test
