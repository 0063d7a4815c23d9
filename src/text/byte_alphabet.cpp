#include "text/byte_alphabet.hpp"

#include <array>

#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

constexpr std::size_t kBytes = 256;
constexpr std::size_t kCodes = 0x144;  // the last of them is U+0143

struct Alphabet {
  std::array<std::uint16_t, kBytes> code{};
  std::array<std::int16_t, kCodes> byte{};
};

constexpr bool is_shown(std::size_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) {
    byte = -1;
  }
  std::uint16_t next = kBytes;
  for (std::size_t byte = 0; byte < kBytes; ++byte) {
    const auto code = is_shown(byte) ? static_cast<std::uint16_t>(byte) : next++;
    alphabet.code[byte] = code;
    alphabet.byte[code] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

char32_t character_of_byte(std::uint8_t byte) noexcept { return kAlphabet.code[byte]; }

std::optional<std::uint8_t> byte_of_character(char32_t code) noexcept {
  if (code >= kCodes || kAlphabet.byte[code] < 0) {
    return std::nullopt;
  }
  return static_cast<std::uint8_t>(kAlphabet.byte[code]);
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    append(text, character_of_byte(static_cast<std::uint8_t>(byte)));
  }
  return text;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  for (std::size_t offset = 0; offset < text.size();) {
    const Character character = character_at(text, offset);
    const auto byte = byte_of_character(character.code);
    if (!byte) {
      return std::nullopt;
    }
    bytes += static_cast<char>(*byte);
    offset += character.length;
  }
  return bytes;
}

}  // namespace kvcache::text
