#include "decoding/xgrammar/text_tokens.hpp"

#include <gtest/gtest.h>

#include <string>

#include "support/random_cases.hpp"
#include "text/utf8.hpp"

namespace kvcache::decoding::xgrammar {
namespace {

/// Whether bytes are UTF-8, perhaps but for a character's beginning at their end.
bool may_become_text(const std::string& bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const text::Sequence sequence = text::first_sequence(std::string_view(bytes).substr(at));
    if (sequence.kind != text::Sequence::Kind::character) {
      return sequence.kind == text::Sequence::Kind::incomplete;
    }
    at += sequence.length;
  }
  return true;
}

/// Tokens of the bytes that decide, one or two of them: what may follow is what the tokenizer's own
/// reader of UTF-8 takes.
TEST(TextTokensTest, AllowWhatMayBecomeUtf8) {
  const std::string deciding(
      "a\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xDF\xE0\xE1\xEC\xED\xEE\xEF\xF0\xF1\xF3\xF4\xF5"
      "\xFF");
  std::vector<std::string> bytes{""};
  for (const char first : deciding) {
    bytes.emplace_back(1, first);
    for (const char second : deciding) {
      bytes.push_back({first, second});
    }
  }
  const TokenBytes tokens(bytes);
  const TextTokens of_text(*tokens.table(), tokens.table()->is_text);
  EXPECT_EQ(of_text.vocab_size(), bytes.size());
  test::for_random_cases(200, [&](test::Random& random) {
    std::string said;
    Within within = Within::none;
    for (int step = 0; step < 8; ++step) {
      const TokenMask& allowed = of_text.allowed(within);
      EXPECT_FALSE(allowed.allows(0));
      for (std::size_t token = 1; token < bytes.size(); ++token) {
        ASSERT_EQ(allowed.allows(static_cast<TokenId>(token)), may_become_text(said + bytes[token]))
            << testing::PrintToString(said + bytes[token]);
      }
      const TokenId next = random.pick(allowed.tokens(bytes.size()));
      within = of_text.after(within, next);
      said += bytes[static_cast<std::size_t>(next)];
      EXPECT_EQ(within == Within::none, !text::first_invalid_byte(said));
    }
  });
}

}  // namespace
}  // namespace kvcache::decoding::xgrammar
