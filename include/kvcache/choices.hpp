// A text that has to be one of a list: legal moves, classes, names.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvcache/constraint.hpp"
#include "kvcache/export.hpp"
#include "kvcache/tokenizer.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// What each token of a vocabulary adds to a text, in bytes. Made once for a tokenizer; what is
/// made of it shares it, as do copies. Immutable: any number of threads may use it.
class KVCACHE_EXPORT TokenBytes {
 public:
  /// Of the model's `vocab_size` ids, some of which the tokenizer may not know. Special tokens and
  /// `stop_tokens`, those that end a text and leave nothing in it, are no part of any.
  /// @throws Error invalid_argument as Tokenizer::bytes; token_out_of_range for a stop token
  TokenBytes(const Tokenizer& tokenizer, std::size_t vocab_size,
             std::span<const TokenId> stop_tokens);

  /// Of a vocabulary from anywhere: bytes[i] are those of token i, empty where it is no part of a
  /// text.
  /// @throws Error invalid_argument for more than 2^22 tokens or 2^30 bytes
  explicit TokenBytes(std::vector<std::string> bytes);

  [[nodiscard]] std::size_t vocab_size() const noexcept;
  /// Empty for what is no part of a text.
  /// @throws Error token_out_of_range
  [[nodiscard]] std::string_view of(TokenId token) const;

  struct Table;
  [[nodiscard]] const std::shared_ptr<const Table>& table() const noexcept { return table_; }

 private:
  std::shared_ptr<const Table> table_;
};

/// The text is one of `choices`, in UTF-8, to the last byte. However it is cut into tokens: all
/// that spell it are allowed, not only those that the tokenizer would choose, for the model then
/// spreads its probability as it does without a constraint (docs/CONSTRAINTS.md). No token is
/// allowed after which none of the choices can be completed.
///
/// Duplicates count once. Where one is the beginning of another, a text ends with the shorter by a
/// stop token only.
/// @throws Error invalid_argument where there is none, one is empty, is not UTF-8 or cannot be
///         spelled with these tokens (the message says which), or they have more than 2^28 bytes
KVCACHE_EXPORT std::unique_ptr<Constraint> one_of(std::span<const std::string> choices,
                                                  const TokenBytes& tokens);

/// The new tokens are one of these sequences: moves of a policy that are tokens themselves.
/// @throws Error invalid_argument where there is none, one is empty, or together they have more
///         than 2^25 tokens; token_out_of_range
KVCACHE_EXPORT std::unique_ptr<Constraint> one_of(std::span<const std::vector<TokenId>> choices,
                                                  std::size_t vocab_size);

}  // namespace kvcache
