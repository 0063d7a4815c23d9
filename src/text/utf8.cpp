#include "text/utf8.hpp"

#include <cstring>

namespace kvcache::text {
namespace {

/// How many bytes follow a lead byte, and what the first of them may be: Unicode, table 3-7.
struct Lead {
  std::size_t following;
  std::uint8_t least;
  std::uint8_t most;
};

Lead lead_of(std::uint8_t byte) noexcept {
  if (byte >= 0xC2 && byte <= 0xDF) {
    return {1, 0x80, 0xBF};
  }
  if (byte >= 0xE0 && byte <= 0xEF) {
    const std::uint8_t least = byte == 0xE0 ? 0xA0 : 0x80;
    const std::uint8_t most = byte == 0xED ? 0x9F : 0xBF;
    return {2, least, most};
  }
  if (byte >= 0xF0 && byte <= 0xF4) {
    const std::uint8_t least = byte == 0xF0 ? 0x90 : 0x80;
    const std::uint8_t most = byte == 0xF4 ? 0x8F : 0xBF;
    return {3, least, most};
  }
  return {0, 0, 0};
}

}  // namespace

std::size_t skip_ascii(std::string_view text, std::size_t offset) noexcept {
  constexpr std::uint64_t kHighBits = 0x8080808080808080U;
  std::uint64_t bytes = 0;
  while (offset + sizeof bytes <= text.size()) {
    std::memcpy(&bytes, text.data() + offset, sizeof bytes);
    if ((bytes & kHighBits) != 0) {
      break;
    }
    offset += sizeof bytes;
  }
  return offset;
}

void append(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

Sequence first_sequence(std::string_view bytes) noexcept {
  const auto byte = [&](std::size_t index) { return static_cast<std::uint8_t>(bytes[index]); };
  if (byte(0) < 0x80) {
    return {Sequence::Kind::character, 1};
  }
  const Lead lead = lead_of(byte(0));
  if (lead.following == 0) {
    return {Sequence::Kind::invalid, 1};
  }
  for (std::size_t index = 1; index <= lead.following; ++index) {
    if (index == bytes.size()) {
      return {Sequence::Kind::incomplete, index};
    }
    const std::uint8_t least = index == 1 ? lead.least : 0x80;
    const std::uint8_t most = index == 1 ? lead.most : 0xBF;
    if (byte(index) < least || byte(index) > most) {
      return {Sequence::Kind::invalid, index};
    }
  }
  return {Sequence::Kind::character, lead.following + 1};
}

std::optional<std::size_t> first_invalid_byte(std::string_view text) noexcept {
  std::size_t offset = 0;
  while ((offset = skip_ascii(text, offset)) < text.size()) {
    const Sequence sequence = first_sequence(text.substr(offset));
    if (sequence.kind != Sequence::Kind::character) {
      return offset;
    }
    offset += sequence.length;
  }
  return std::nullopt;
}

}  // namespace kvcache::text
