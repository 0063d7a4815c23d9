#include "text/stable_text.hpp"

#include <gtest/gtest.h>

#include "text/pattern.hpp"
#include "text/utf8.hpp"

namespace kvcache::text {
namespace {

bool matches(const char* pattern, char32_t code, Categories categories) {
  std::string text;
  append(text, code);
  std::vector<Span> spans;
  Pattern::of_pcre(pattern, categories).find_all(text, spans);
  return spans.front().match;
}

TEST(StableText, LeavesKnownCharactersWhereTheyAre) {
  std::string buffer;
  const std::string text = "a\xC3\xA9\xE6\x97\xA5\xF0\x9F\xA6\x80";
  EXPECT_EQ(stable_text(text, buffer).data(), text.data());
}

TEST(StableText, KeepsEveryOffset) {
  std::string buffer;
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code < 0xE000) {
      continue;
    }
    std::string text;
    append(text, code);
    ASSERT_EQ(stable_text(text, buffer).size(), text.size()) << std::hex << std::size_t{code};
  }
}

TEST(StableText, HasTheCategoriesOfTheReference) {
  constexpr auto k16 = Categories::unicode_16;
  EXPECT_TRUE(matches("\\p{So}", 0x1FAE9, k16)) << "an emoji of Unicode 16";
  EXPECT_TRUE(matches("\\p{Lu}", 0x1C89, k16)) << "a letter of Unicode 16";
  EXPECT_TRUE(matches("\\p{Han}", 0x31350, k16)) << "an ideograph of Unicode 15";
  EXPECT_TRUE(matches("\\p{Cn}", 0x323B0, k16)) << "an ideograph of Unicode 17";
  EXPECT_FALSE(matches("\\s", 0x180E, k16)) << "white space of Unicode 6.2";
  EXPECT_FALSE(matches("\\p{N}", 0x11DE0, k16));
  EXPECT_TRUE(matches("\\p{N}", 0x11DE0, Categories::unicode_17));
}

}  // namespace
}  // namespace kvcache::text
