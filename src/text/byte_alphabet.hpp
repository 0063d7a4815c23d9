// The alphabet of byte-level BPE: a visible character for each byte (GPT-2's encoder.py).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvcache::text {

/// The character that stands for a byte: itself where Latin-1 shows it, else one from U+0100 on.
char32_t character_of_byte(std::uint8_t byte) noexcept;

/// The byte that a character stands for; nothing for all other characters.
std::optional<std::uint8_t> byte_of_character(char32_t code) noexcept;

/// Every byte of `bytes` as its character, in UTF-8.
std::string to_byte_alphabet(std::string_view bytes);

/// The bytes that the characters of `text`, which is valid, stand for; nothing where one stands for
/// none.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace kvcache::text
