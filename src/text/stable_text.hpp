// Text in which every version of Unicode sees the same categories.
//
// PCRE2 knows the Unicode of its own version (10.42: 14.0), the reference that of its own (16.0).
// Characters on which versions differ are replaced, in a copy that patterns are matched with, by
// one of the same category and length that all versions know. Offsets are then those of the text.
#pragma once

#include <string>
#include <string_view>

namespace kvcache::text {

/// Which version's digits, letters, … a character belongs to.
enum class Categories {
  unicode_16,  // of patterns
  unicode_17,  // of numbers only: Digits asks another library, which is newer
};

/// `text` itself where it holds none of those characters, else a copy in `buffer`. `text` is valid.
std::string_view stable_text(std::string_view text, std::string& buffer,
                             Categories categories = Categories::unicode_16);

}  // namespace kvcache::text
