#include "kvcache/tokenizer.hpp"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <thread>

#include "support/models.hpp"
#include "support/random_cases.hpp"
#include "support/temporary_directory.hpp"
#include "text/tiny_tokenizer.hpp"

namespace kvcache {
namespace {

using Ids = std::vector<TokenId>;
using test::expect_error;
using test::tiny_tokenizer;

Tokenizer tiny() { return Tokenizer::from_json(tiny_tokenizer().dump()); }

/// Expects that the tiny tokenizer is refused once the value at `place` is another.
void expect_refused(const std::string& place, const nlohmann::json& value,
                    const std::string& message) {
  SCOPED_TRACE(place);
  nlohmann::json changed = tiny_tokenizer();
  changed[nlohmann::json::json_pointer(place)] = value;
  expect_error(ErrorCode::tokenizer_invalid, message,
               [&] { (void)Tokenizer::from_json(changed.dump()); });
}

TEST(Tokenizer, MergesByRank) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.encode("hello"), (Ids{260, 259}));
  EXPECT_EQ(tokenizer.encode("hello", {.add_special_tokens = false}), (Ids{259}));
  EXPECT_EQ(tokenizer.encode("helll", {.add_special_tokens = false}), (Ids{258, 'l'}));
  EXPECT_EQ(tokenizer.encode(""), (Ids{260}));
  EXPECT_EQ(tokenizer.encode("", {.add_special_tokens = false}), Ids{});
}

TEST(Tokenizer, SpecialTokensInATextAreTokensUnlessTheyAreToBeText) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.encode("he</s>"), (Ids{260, 256, 261}));
  const Ids as_text = tokenizer.encode("he</s>", {.special_tokens_as_text = true});
  EXPECT_EQ(as_text, (Ids{260, 256, '<', '/', 's', '>'}));
  EXPECT_EQ(tokenizer.decode(as_text), "he</s>");
}

TEST(Tokenizer, SkipsSpecialTokensUnlessTheyAreAskedFor) {
  const Tokenizer tokenizer = tiny();
  const Ids ids{260, 259, 261};
  EXPECT_EQ(tokenizer.decode(ids), "hello");
  EXPECT_EQ(tokenizer.decode(ids, {.skip_special_tokens = false}), "<s>hello</s>");
  EXPECT_TRUE(tokenizer.is_special(261));
  EXPECT_FALSE(tokenizer.is_special(259));
  EXPECT_FALSE(tokenizer.is_special(-1));
}

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.vocab_size(), 262U);
  EXPECT_EQ(tokenizer.token_id("hello"), 259);
  EXPECT_EQ(tokenizer.token_id("</s>"), 261);
  EXPECT_EQ(tokenizer.token_id("hullo"), std::nullopt);
  EXPECT_EQ(tokenizer.token(260), "<s>");
  EXPECT_EQ(tokenizer.token(' '), "\xC4\xA0");
  EXPECT_EQ(tokenizer.token(262), std::nullopt);
  EXPECT_EQ(tokenizer.token(-1), std::nullopt);
}

TEST(Tokenizer, RefusesTextThatIsNoUtf8) {
  const Tokenizer tokenizer = tiny();
  for (const std::string invalid :
       {"\xFF", "\xC3", "\xED\xA0\x80", "\xC0\x80", "\xF4\x90\x80\x80"}) {
    SCOPED_TRACE(::testing::PrintToString(invalid));
    expect_error(ErrorCode::invalid_argument, "byte 2 of ",
                 [&] { (void)tokenizer.encode("ab" + invalid); });
  }
}

/// As Hugging Face's tokenizers do: a model's vocabulary may be filled up.
TEST(Tokenizer, IdsThatNoTokenHasLeaveNothingWhereThatIsAskedFor) {
  const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  const std::vector<TokenId> tokens = tokenizer.encode("a text");
  std::vector<TokenId> with_others{-1};
  TextStream stream = tokenizer.new_text({.skip_unknown_ids = true});
  std::string streamed = stream.push(-1);
  for (const TokenId token : tokens) {
    with_others.insert(with_others.end(), {token, 1'000'000});
    streamed += stream.push(token) + stream.push(1'000'000);
  }
  streamed += stream.finish();
  const std::string text = tokenizer.decode(tokens);
  EXPECT_EQ(tokenizer.decode(with_others, {.skip_unknown_ids = true}), text);
  EXPECT_EQ(streamed, text);
}

TEST(Tokenizer, RefusesIdsThatNoTokenHas) {
  const Tokenizer tokenizer = tiny();
  TextStream stream = tokenizer.new_text();
  EXPECT_EQ(stream.push(0xC3), "");
  for (const TokenId id : {TokenId{-1}, TokenId{262}, TokenId{1} << 40}) {
    expect_error(ErrorCode::token_out_of_range, "no token has the id", [&] {
      (void)tokenizer.decode(Ids{256, id});
    });
    expect_error(ErrorCode::token_out_of_range, "ids are from 0 to 261",
                 [&] { (void)stream.push(id); });
  }
  EXPECT_EQ(stream.push(0xA9), "\xC3\xA9") << "the stream is no longer as it was";
}

TEST(Tokenizer, DecodesAsTokensComeWhatItDecodesAtOnce) {
  const Tokenizer tokenizer = tiny();
  TextStream stream = tokenizer.new_text({.skip_special_tokens = false});
  test::for_random_cases(500, [&](test::Random& random) {
    Ids ids(static_cast<std::size_t>(random.integer(0, 20)));
    for (TokenId& id : ids) {
      id = random.integer(0, 261);
    }
    std::string text;
    for (const TokenId id : ids) {
      const std::string grown = stream.push(id);
      EXPECT_NO_THROW((void)tokenizer.encode(grown)) << "a character was split";
      text += grown;
    }
    text += stream.finish();
    EXPECT_EQ(text, tokenizer.decode(ids, {.skip_special_tokens = false}));
  });
}

TEST(Tokenizer, EncodedTextDecodesToItself) {
  const Tokenizer tokenizer = tiny();
  constexpr std::array kParts{"h", "e", "l", "o", " ", "\n", "\xC3\xA9", "\xF0\x9F\xA6\x80",
                              "1", "'s"};
  test::for_random_cases(200, [&](test::Random& random) {
    std::string text;
    for (std::int64_t length = random.integer(0, 200); length > 0; --length) {
      text += random.pick(kParts);
    }
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  });
}

TEST(Tokenizer, ThreadsShareOne) {
  const Tokenizer tokenizer = tiny();
  const std::string text = "hello hell he said, hello";
  const Ids expected = tokenizer.encode(text);
  std::array<bool, 4> same{};
  std::vector<std::thread> threads;
  threads.reserve(same.size());
  for (bool& ok : same) {
    threads.emplace_back([&] {
      ok = true;
      for (int round = 0; round < 200; ++round) {
        ok = ok && tokenizer.encode(text) == expected;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(same, (std::array<bool, 4>{true, true, true, true}));
}

TEST(Tokenizer, NamesWhatItDoesNotSupport) {
  expect_refused("/model/type", "WordPiece", R"("model.type" is "WordPiece", must be BPE)");
  expect_refused("/model/type", "Unigram", R"("model.type" is "Unigram", must be BPE)");
  expect_refused("/model/dropout", 0.5, R"("model.dropout" is 0.5, must be null)");
  expect_refused("/model/end_of_word_suffix", "</w>", "must be null: it is not supported");
  expect_refused("/normalizer", {{"type", "BertNormalizer"}}, R"("normalizer.type" is "BertNorm)");
  expect_refused("/pre_tokenizer", {{"type", "Whitespace"}}, R"("pre_tokenizer.type" is "Whites)");
  expect_refused("/pre_tokenizer",
                 {{"type", "Sequence"}, {"pretokenizers", {{{"type", "UnicodeScripts"}}}}},
                 R"("pre_tokenizer.pretokenizers[0].type" is "UnicodeScripts")");
  expect_refused("/post_processor", {{"type", "BertProcessing"}}, R"("post_processor.type" is)");
  expect_refused("/decoder", {{"type", "CTC"}}, R"("decoder.type" is "CTC", must be ByteLevel)");
  expect_refused("/truncation", {{"max_length", 8}}, R"("truncation" is an object, must be null)");
  expect_refused("/padding", {{"pad_id", 0}}, R"("padding" is an object, must be null)");
}

TEST(Tokenizer, RefusesPatternsThatLibrariesReadDifferently) {
  const auto expect_pattern_refused = [](const char* pattern, const char* message) {
    expect_refused("/pre_tokenizer",
                   {{"type", "Split"},
                    {"pattern", {{"Regex", pattern}}},
                    {"behavior", "Isolated"},
                    {"invert", false}},
                   message);
  };
  expect_pattern_refused("\\w+", "must be a pattern without \\w");
  expect_pattern_refused("\\bx", "must be a pattern without \\b");
  expect_pattern_refused("^x", "must be a pattern without ^");
  expect_pattern_refused("[a[b]]", "must be a pattern without a class in a class");
  expect_pattern_refused("[a&&b]", "must be a pattern without &&");
  expect_pattern_refused("\\p{Greek}", "must be a pattern without \\p{Greek}");
  expect_pattern_refused("(?m:x)", "must be a pattern without (?m:");
  expect_pattern_refused("x{2}+", "must be a pattern without + or ? behind a count");
  expect_pattern_refused("(x", "must be a regular expression (");
  expect_pattern_refused("x*", "must be a pattern that matches no empty text");
  expect_pattern_refused("", "must be a pattern that matches no empty text");
}

TEST(Tokenizer, RefusesVocabulariesThatContradictThemselves) {
  expect_refused("/model/merges", {"h x"}, R"("model.merges[0]" is "h x", must merge tokens of)");
  expect_refused("/model/merges", {"h"}, "must be two tokens with a space between them");
  expect_refused("/model/merges", {{"h", "e", "l"}}, "must be two tokens");
  expect_refused("/model/vocab/hello", 258, "must have each id once, has 258 for");
  expect_refused("/model/vocab/hello", -1, "must be a whole number from 0 to 4194303");
  expect_refused("/model/vocab/hello", 1 << 22, "must be a whole number from 0 to 4194303");
  expect_refused("/added_tokens/1/id", 300, "must be 261, the next behind those of the vocabulary");
  expect_refused("/added_tokens/1/content", "hello", "must be 259, the token's id in the vocab");
  expect_refused("/added_tokens/1/content", "<s>", "must have each token once, has \"<s>\" twice");
}

TEST(Tokenizer, ReadsADirectory) {
  const test::TemporaryDirectory directory;
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(directory.path() / name) << text;
  };
  expect_error(ErrorCode::model_not_found,
               "tokenizer.json does not exist, and neither do vocab.json",
               [&] { (void)Tokenizer::load(directory.path()); });
  nlohmann::json vocab = tiny_tokenizer()["model"]["vocab"];
  vocab["<|endoftext|>"] = 260;
  write("vocab.json", vocab.dump());
  write("merges.txt", "#version: 0.2\nh e\nl l\nhe ll\nhell o\n");
  const Tokenizer older = Tokenizer::load(directory.path());
  EXPECT_EQ(older.encode("hello<|endoftext|>"), (Ids{259, 260}));
  write("merges.txt", "h e\nl x\n");
  expect_error(ErrorCode::tokenizer_invalid, "merges.txt: line 2 is \"l x\", must merge tokens",
               [&] { (void)Tokenizer::load(directory.path()); });
  write("tokenizer.json", tiny_tokenizer().dump());
  EXPECT_EQ(Tokenizer::load(directory.path()).encode("hello"), (Ids{260, 259}));
  EXPECT_EQ(Tokenizer::load(directory.path() / "tokenizer.json").encode("he"), (Ids{260, 256}));
  write("tokenizer.json", "{");
  expect_error(ErrorCode::tokenizer_invalid, "tokenizer.json is not JSON",
               [&] { (void)Tokenizer::load(directory.path()); });
}

}  // namespace
}  // namespace kvcache
