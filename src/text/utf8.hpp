// UTF-8: reading, writing and checking it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvcache::text {

/// A character and how many bytes it takes.
struct Character {
  char32_t code;
  std::size_t length;
};

/// The character at `offset` of a text that is valid.
inline Character character_at(std::string_view text, std::size_t offset) noexcept {
  const auto byte = [&](std::size_t index) -> char32_t {
    return static_cast<std::uint8_t>(text[offset + index]);
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) {
    return {lead, 1};
  }
  if (lead < 0xE0) {
    return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  }
  if (lead < 0xF0) {
    return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  }
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

/// The character that ends at `end`, which is above 0, of a text that is valid.
inline Character character_before(std::string_view text, std::size_t end) noexcept {
  std::size_t begin = end - 1;
  while ((static_cast<std::uint8_t>(text[begin]) & 0xC0) == 0x80) {
    --begin;
  }
  return character_at(text, begin);
}

/// The first offset from `offset` on at which eight bytes are not all ASCII, or fewer are left.
std::size_t skip_ascii(std::string_view text, std::size_t offset) noexcept;

/// Appends a character in UTF-8.
void append(std::string& text, char32_t code);

/// What the bytes at the beginning of `bytes`, which is not empty, are.
struct Sequence {
  enum class Kind {
    character,   // a whole one, of `length` bytes
    incomplete,  // the end of `bytes` cuts off what may be one
    invalid,     // `length` bytes that begin no character: one error by Unicode's recommendation
  };
  Kind kind;
  std::size_t length;
};
Sequence first_sequence(std::string_view bytes) noexcept;

/// Where `text` stops being valid UTF-8; nothing where all of it is.
std::optional<std::size_t> first_invalid_byte(std::string_view text) noexcept;

/// U+FFFD, which stands for what is no character.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace kvcache::text
