// The bytes of a vocabulary's tokens, in the order in which they are looked for.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "decoding/prefix_ranges.hpp"
#include "kvcache/choices.hpp"

namespace kvcache {

struct TokenBytes::Table {
  explicit Table(std::vector<std::string> bytes);

  std::vector<std::string> of_token;
  decoding::PrefixRanges<std::string> spellings;  // of tokens that are not empty
  bool every_byte;                                // is a token of its own
  TokenMask is_text;                              // the tokens that are not empty

  /// The tokens with one of the spellings.
  [[nodiscard]] std::span<const TokenId> tokens_of(std::size_t spelling) const noexcept {
    return std::span(tokens_).subspan(first_token_[spelling],
                                      first_token_[spelling + 1] - first_token_[spelling]);
  }

 private:
  std::vector<std::size_t> first_token_;  // of each spelling
  std::vector<TokenId> tokens_;           // by spelling
};

}  // namespace kvcache
