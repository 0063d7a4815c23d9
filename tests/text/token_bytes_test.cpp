// Tokenizer::bytes: what a token adds to a text that has begun.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvcache/tokenizer.hpp"
#include "support/models.hpp"
#include "text/tiny_tokenizer.hpp"

namespace kvcache {
namespace {

using nlohmann::json;

/// Bytes as tokens, words with a space before them, as in Llama 2's file.
json fallback_tokenizer(const json& decoders) {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocab[fmt::format("<0x{:02X}>", byte)] = byte;
  }
  int next = 256;
  for (const char* token : {"▁", "a", "▁b", "é", "▁▁c"}) {
    vocab[token] = next++;
  }
  return {
      {"version", "1.0"},
      {"added_tokens", json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", nullptr},
      {"post_processor", nullptr},
      {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
      {"model",
       {{"type", "BPE"}, {"byte_fallback", true}, {"vocab", vocab}, {"merges", json::array()}}}};
}

const json replace_decoder{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}};
const json fallback_decoder{{"type", "ByteFallback"}};
const json fuse_decoder{{"type", "Fuse"}};
const json strip_decoder{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};

/// What is decoded after a text that has begun is the bytes of the tokens, wherever these are
/// UTF-8.
TEST(TokenBytesInATextTest, AreWhatDecodingAdds) {
  const std::vector<Tokenizer> tokenizers{
      Tokenizer::from_json(test::tiny_tokenizer().dump()),
      Tokenizer::from_json(fallback_tokenizer(json::array({replace_decoder, fallback_decoder,
                                                           fuse_decoder, strip_decoder}))
                               .dump())};
  const std::vector<std::string> parts{"a", "é", "\n", "漢", "🙂", "  ", "hello", "b"};
  for (const Tokenizer& tokenizer : tokenizers) {
    test::for_random_cases(100, [&](test::Random& random) {
      std::string text;
      for (std::int64_t i = random.integer(1, 8); i > 0; --i) {
        text += random.pick(parts);
      }
      // Byte by byte, with longer tokens between.
      std::vector<TokenId> tokens;
      std::string rest = text;
      while (!rest.empty()) {
        std::vector<TokenId> fitting;
        for (std::size_t id = 0; id < tokenizer.vocab_size(); ++id) {
          const auto bytes = tokenizer.bytes(static_cast<TokenId>(id));
          ASSERT_TRUE(bytes);
          if (!bytes->empty() && rest.starts_with(*bytes)) {
            fitting.push_back(static_cast<TokenId>(id));
          }
        }
        ASSERT_FALSE(fitting.empty());
        tokens.push_back(random.pick(fitting));
        rest.erase(0, tokenizer.bytes(tokens.back())->size());
      }
      const std::vector<TokenId> before{'a'};
      std::vector<TokenId> all = before;
      all.insert(all.end(), tokens.begin(), tokens.end());
      EXPECT_EQ(tokenizer.decode(all), tokenizer.decode(before) + text);
    });
  }
}

TEST(TokenBytesInATextTest, SpecialTokensHaveNoneAndOthersAreAsTheirDecoderSays) {
  const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  EXPECT_EQ(tokenizer.bytes(0xC3), "\xC3");
  EXPECT_EQ(tokenizer.bytes(259), "hello");
  EXPECT_EQ(tokenizer.bytes(260), "");
  EXPECT_EQ(tokenizer.bytes(262), std::nullopt);
  EXPECT_EQ(tokenizer.bytes(-1), std::nullopt);
  const Tokenizer fallback =
      Tokenizer::from_json(fallback_tokenizer(json::array({replace_decoder, fallback_decoder,
                                                           fuse_decoder, strip_decoder}))
                               .dump());
  EXPECT_EQ(fallback.bytes(0x0A), "\n");
  EXPECT_EQ(fallback.bytes(256), " ");  // within a text, where nothing is stripped
  EXPECT_EQ(fallback.bytes(260), "  c");
  json metaspace = fallback_tokenizer(json::array({fuse_decoder}));
  metaspace["decoder"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}};
  EXPECT_EQ(Tokenizer::from_json(metaspace.dump()).bytes(260), "  c");
  metaspace["decoder"] = nullptr;  // a space between two tokens
  EXPECT_EQ(Tokenizer::from_json(metaspace.dump()).bytes(257), " a");
}

TEST(TokenBytesInATextTest, RefusesADecoderThatWorksOnFusedTokens) {
  const Tokenizer tokenizer =
      Tokenizer::from_json(fallback_tokenizer(json::array({fuse_decoder, replace_decoder})).dump());
  test::expect_error(ErrorCode::tokenizer_invalid,
                     "the tokenizer's decoder has Replace behind Fuse",
                     [&] { static_cast<void>(tokenizer.bytes(257)); });
}

}  // namespace
}  // namespace kvcache
