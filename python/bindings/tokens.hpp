// Tokens, nodes and parents as Python has them: lists, tuples, ranges, arrays of numpy.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache::python {

namespace nb = nanobind;

/// What its signatures call them: whole numbers, one after the other.
#define KVCACHE_PY_TOKENS "collections.abc.Sequence[int] | numpy.typing.NDArray[numpy.integer]"

/// The tokens in `object`, a sequence of whole numbers or an array of them with one axis.
/// @throws nb::python_error (TypeError), naming `what`, where it is neither; Error
///         token_out_of_range for a number that no 64 bits hold
std::vector<TokenId> to_tokens(nb::handle object, std::string_view what = "tokens");

/// The same for parents of nodes.
/// @throws as to_tokens(), and Error invalid_argument for a number that no 32 bits hold
std::vector<std::int32_t> to_parents(nb::handle object);

/// Nodes whose logits are wanted; −1 is TokenTree::kPrefix.
/// @throws as to_tokens(), and Error invalid_argument for a number below −1
std::vector<std::size_t> to_nodes(nb::handle object);

/// @throws as to_tokens() and to_parents()
TokenTree to_tree(nb::handle tokens, nb::handle parents);

/// Lists of tokens, such as moves.
std::vector<std::vector<TokenId>> to_token_lists(nb::handle object, std::string_view what);

using TokenArray = nb::ndarray<nb::numpy, TokenId, nb::ndim<1>, nb::c_contig>;

/// A new array of numpy with these tokens.
TokenArray to_array(std::span<const TokenId> tokens);

}  // namespace kvcache::python
