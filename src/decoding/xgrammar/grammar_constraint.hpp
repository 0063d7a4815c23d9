// A compiled grammar as a constraint.
#pragma once

#include <memory>

#include "decoding/xgrammar/text_tokens.hpp"
#include "decoding/xgrammar/tvm_ffi.hpp"
#include "kvcache/constraint.hpp"

namespace kvcache::decoding::xgrammar {

/// Of a compiled grammar, whose vocabulary is that of `tokens` and one that ends a text behind it.
/// @throws CallFailed
std::unique_ptr<Constraint> constraint_of(const Value& grammar,
                                          std::shared_ptr<const TextTokens> tokens);

}  // namespace kvcache::decoding::xgrammar
