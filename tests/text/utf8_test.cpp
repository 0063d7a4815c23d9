#include "text/utf8.hpp"

#include <gtest/gtest.h>

namespace kvcache::text {
namespace {

TEST(Utf8, ReadsWhatItWrites) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code < 0xE000) {
      continue;
    }
    std::string text = "x";
    append(text, code);
    const Character character = character_at(text, 1);
    ASSERT_EQ(character.code, code);
    ASSERT_EQ(character.length, text.size() - 1);
    ASSERT_EQ(character_before(text, text.size()).code, code);
    ASSERT_EQ(first_invalid_byte(text), std::nullopt);
    ASSERT_EQ(first_sequence(text.substr(1)).kind, Sequence::Kind::character);
  }
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_EQ(first_invalid_byte("abcdefghij\xFF"), 10U);
  EXPECT_EQ(first_invalid_byte("abc\xC3"), 3U);
  EXPECT_EQ(first_invalid_byte("\xC3\xA9\xA9"), 2U);
  EXPECT_EQ(first_invalid_byte("\xED\xA0\x80"), 0U) << "a surrogate";
  EXPECT_EQ(first_invalid_byte("\xE0\x80\xAF"), 0U) << "longer than it need be";
}

TEST(Utf8, AnErrorIsAsLongAsTheBeginningOfACharacter) {
  EXPECT_EQ(first_sequence("\xF0\x9F\xA6x").length, 3U);
  EXPECT_EQ(first_sequence("\xF0\x9F\xA6x").kind, Sequence::Kind::invalid);
  EXPECT_EQ(first_sequence("\xF0\x9F\xA6").kind, Sequence::Kind::incomplete);
  EXPECT_EQ(first_sequence("\xF0\x80\x80\x80").length, 1U);
}

}  // namespace
}  // namespace kvcache::text
