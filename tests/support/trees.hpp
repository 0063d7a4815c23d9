// Random trees of continuations, and the texts their nodes stand for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/models.hpp"

namespace kvcache::test {

/// `nodes` nodes of which no path is longer than `most_depth`.
TokenTree random_tree(Random& random, const ModelInfo& info, std::int64_t nodes,
                      std::size_t most_depth);

/// The prefix and the tokens from the root to `node`.
std::vector<TokenId> text_of_node(std::span<const TokenId> prefix, const TokenTree& tree,
                                  std::size_t node);

}  // namespace kvcache::test
