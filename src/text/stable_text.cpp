#include "text/stable_text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

struct Range {
  char32_t first;
  char32_t last;
  char32_t replacement;
};

constexpr auto kReplacements = std::to_array<Range>({
#include "text/unicode_replacements.inc"
});

// PCRE2 takes it for white space, as Unicode did before 6.3; U+200B is a format character as it is.
constexpr Range kMongolianVowelSeparator{0x180E, 0x180E, 0x200B};

// Numbers since Unicode 17, and one of Unicode 14.
constexpr std::array kNumbersOf17{Range{0x11DE0, 0x11DE9, 0x11066},
                                  Range{0x16FF4, 0x16FF6, 0x11066}};

/// Whether a character may have to be replaced: a bit for each.
class Suspects {
 public:
  Suspects() : bits_((kCodes + kBits - 1) / kBits) {
    for (const Range& range : kReplacements) {
      add(range);
    }
    add(kMongolianVowelSeparator);
  }
  [[nodiscard]] bool has(char32_t code) const noexcept {
    return (bits_[code / kBits] >> (code % kBits) & 1) != 0;
  }

 private:
  static constexpr std::size_t kCodes = 0x110000;
  static constexpr std::size_t kBits = 64;

  void add(const Range& range) {
    for (char32_t code = range.first; code <= range.last; ++code) {
      bits_[code / kBits] |= std::uint64_t{1} << (code % kBits);
    }
  }

  std::vector<std::uint64_t> bits_;
};

bool holds(const Range& range, char32_t code) { return code >= range.first && code <= range.last; }

char32_t replacement_of(char32_t code, Categories categories) {
  if (holds(kMongolianVowelSeparator, code)) {
    return kMongolianVowelSeparator.replacement;
  }
  if (categories == Categories::unicode_17) {
    for (const Range& range : kNumbersOf17) {
      if (holds(range, code)) {
        return range.replacement;
      }
    }
  }
  const auto* range =
      std::ranges::upper_bound(kReplacements, code, std::less<>(), &Range::first) - 1;
  return range->replacement;
}

}  // namespace

std::string_view stable_text(std::string_view text, std::string& buffer, Categories categories) {
  static const Suspects suspects;
  bool copied = false;
  std::size_t offset = 0;
  while ((offset = skip_ascii(text, offset)) < text.size()) {
    if (static_cast<std::uint8_t>(text[offset]) < 0x80) {
      ++offset;
      continue;
    }
    const Character character = character_at(text, offset);
    if (suspects.has(character.code)) {
      if (!copied) {
        buffer = text;
        copied = true;
      }
      std::string replacement;
      append(replacement, replacement_of(character.code, categories));
      buffer.replace(offset, character.length, replacement);
    }
    offset += character.length;
  }
  return copied ? std::string_view(buffer) : text;
}

}  // namespace kvcache::text
