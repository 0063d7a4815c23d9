// A compiled grammar as a constraint.
#pragma once

#include <memory>

#include "decoding/xgrammar/tvm_ffi.hpp"
#include "kvcache/constraint.hpp"

namespace kvcache::decoding::xgrammar {

/// Of a compiled grammar, whose vocabulary is that of `usable` and one that ends a text behind it.
/// `usable` are the tokens that may be part of a text at all.
/// @throws CallFailed
std::unique_ptr<Constraint> constraint_of(const Value& grammar,
                                          std::shared_ptr<const TokenMask> usable);

}  // namespace kvcache::decoding::xgrammar
