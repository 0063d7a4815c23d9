// Which tokens keep a text UTF-8.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "decoding/token_bytes.hpp"
#include "kvcache/constraint.hpp"

namespace kvcache::decoding::xgrammar {

/// Where a text ends within a character: what the next byte may be (Unicode's table of well-formed
/// byte sequences).
enum class Within : std::uint8_t {
  none,         // the character is whole
  one_left,     // any byte that continues one is the last
  two_left,     // two of them
  three_left,   // three of them
  after_e0,     // no overlong form of two bytes
  after_ed,     // no surrogate
  after_f0,     // no overlong form of three bytes
  after_f4,     // nothing above U+10FFFF
  nothing_fits  // this is no UTF-8 any more
};

/// A vocabulary's tokens that may be part of a text, wherever it ends within a character. xgrammar
/// takes surrogates and overlong forms for characters; a text that has them is not the one that it
/// meant once it is decoded.
class TextTokens {
 public:
  /// Of the tokens in `usable`.
  TextTokens(const TokenBytes::Table& tokens, const TokenMask& usable);

  [[nodiscard]] std::size_t vocab_size() const noexcept { return allowed_.front().vocab_size(); }

  [[nodiscard]] const TokenMask& allowed(Within within) const noexcept {
    return allowed_[static_cast<std::size_t>(within)];
  }

  /// After a token that is allowed.
  [[nodiscard]] Within after(Within within, TokenId token) const noexcept {
    return after_[static_cast<std::size_t>(within)][static_cast<std::size_t>(token)];
  }

 private:
  static constexpr auto kStates = static_cast<std::size_t>(Within::nothing_fits);

  std::array<TokenMask, kStates> allowed_;
  std::array<std::vector<Within>, kStates> after_;  // by token
};

}  // namespace kvcache::decoding::xgrammar
