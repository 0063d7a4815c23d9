#include "decoding/xgrammar/text_tokens.hpp"

namespace kvcache::decoding::xgrammar {
namespace {

Within if_between(std::uint8_t byte, std::uint8_t low, std::uint8_t high, Within then) noexcept {
  return byte >= low && byte <= high ? then : Within::nothing_fits;
}

Within after_first_byte(std::uint8_t byte) noexcept {
  if (byte < 0x80) {
    return Within::none;
  }
  switch (byte) {
    case 0xE0:
      return Within::after_e0;
    case 0xED:
      return Within::after_ed;
    case 0xF0:
      return Within::after_f0;
    case 0xF4:
      return Within::after_f4;
    default:
      break;
  }
  if (byte >= 0xE1 && byte <= 0xEF) {
    return Within::two_left;
  }
  return byte < 0xE0 ? if_between(byte, 0xC2, 0xDF, Within::one_left)
                     : if_between(byte, 0xF1, 0xF3, Within::three_left);
}

Within after_byte(Within within, std::uint8_t byte) noexcept {
  switch (within) {
    case Within::none:
      return after_first_byte(byte);
    case Within::one_left:
      return if_between(byte, 0x80, 0xBF, Within::none);
    case Within::two_left:
      return if_between(byte, 0x80, 0xBF, Within::one_left);
    case Within::three_left:
      return if_between(byte, 0x80, 0xBF, Within::two_left);
    case Within::after_e0:
      return if_between(byte, 0xA0, 0xBF, Within::one_left);
    case Within::after_ed:
      return if_between(byte, 0x80, 0x9F, Within::one_left);
    case Within::after_f0:
      return if_between(byte, 0x90, 0xBF, Within::two_left);
    case Within::after_f4:
      return if_between(byte, 0x80, 0x8F, Within::two_left);
    case Within::nothing_fits:
      break;
  }
  return Within::nothing_fits;
}

}  // namespace

TextTokens::TextTokens(const TokenBytes::Table& tokens, const TokenMask& usable) {
  for (std::size_t state = 0; state < kStates; ++state) {
    allowed_[state] = TokenMask(usable.vocab_size());
    after_[state].resize(usable.vocab_size(), Within::nothing_fits);
    for (const TokenId token : usable.tokens(usable.vocab_size())) {
      auto within = static_cast<Within>(state);
      for (const char byte : tokens.of_token[static_cast<std::size_t>(token)]) {
        within = after_byte(within, static_cast<std::uint8_t>(byte));
      }
      after_[state][static_cast<std::size_t>(token)] = within;
      if (within != Within::nothing_fits) {
        allowed_[state].allow(token);
      }
    }
  }
}

}  // namespace kvcache::decoding::xgrammar
