// What must hold of a tree before it is evaluated.
#pragma once

#include <cstddef>
#include <span>

#include "inference/engine.hpp"
#include "kvcache/tree.hpp"

namespace kvcache::inference {

/// Checks a tree that is to follow `past_length` tokens, and the nodes whose logits are wanted.
/// @throws Error empty_input, token_out_of_range, context_full; invalid_argument (a parent that is
///         no earlier node, a chosen node that does not exist)
void check_tree(const Engine& engine, std::size_t past_length, const TokenTree& tree,
                std::span<const std::size_t> chosen);

}  // namespace kvcache::inference
