// What must hold of a tree before it is evaluated.
#pragma once

#include <cstddef>
#include <span>

#include "inference/sequence_state.hpp"
#include "kvcache/tree.hpp"

namespace kvcache::inference {

/// Checks a tree that is to follow a prefix, and the nodes whose logits are wanted. It may have no
/// nodes where the prefix's own logits are wanted.
/// @throws Error empty_input, token_out_of_range, context_full; invalid_argument (a parent that is
///         no earlier node, a chosen node that does not exist, kPrefix of an empty prefix, or of
///         one whose last token saw what has left its window)
void check_tree(const SequenceState& prefix, const TokenTree& tree,
                std::span<const std::size_t> chosen);

/// Whether TokenTree::kPrefix is among the nodes.
bool asks_for_prefix(std::span<const std::size_t> chosen) noexcept;

}  // namespace kvcache::inference
