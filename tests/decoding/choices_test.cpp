#include "kvcache/choices.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "decoding/random_choices.hpp"
#include "support/models.hpp"
#include "text/tiny_tokenizer.hpp"

namespace kvcache {
namespace {

using test::allowed_by;
using test::expect_error;
using test::Random;
using test::random_texts;
using test::random_vocabulary;

/// Whether tokens spell `text` from here on: tries all.
bool can_spell(const std::string& text, const std::vector<std::string>& tokens) {
  return text.empty() || std::ranges::any_of(tokens, [&](const std::string& token) {
           return !token.empty() && text.starts_with(token) &&
                  can_spell(text.substr(token.size()), tokens);
         });
}

/// The tokens that may follow `said`, by the definition: some choice begins with both, and its rest
/// can be spelled.
std::vector<TokenId> allowed_by_definition(const std::string& said,
                                           const std::vector<std::string>& choices,
                                           const std::vector<std::string>& tokens) {
  std::vector<TokenId> allowed;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string next = said + tokens[id];
    const bool leads_on = std::ranges::any_of(choices, [&](const std::string& choice) {
      return choice.starts_with(next) && can_spell(choice.substr(next.size()), tokens);
    });
    if (!tokens[id].empty() && leads_on) {
      allowed.push_back(static_cast<TokenId>(id));
    }
  }
  return allowed;
}

class Choices : public testing::Test {
 protected:
  std::unique_ptr<Constraint> among(const std::vector<std::string>& choices) const {
    return one_of(choices, tokens_);
  }

  /// "hel", "hell", "hello" and all bytes.
  Tokenizer tokenizer_ = Tokenizer::from_json(test::tiny_tokenizer().dump());
  TokenBytes tokens_{tokenizer_, tokenizer_.vocab_size(), {}};
};

TEST_F(Choices, AllowWhatTheDefinitionAllowsAtEachStep) {
  std::size_t refused = 0;
  test::for_random_cases(400, [&](Random& random) {
    const auto tokens = random_vocabulary(random, random.chance(0.5));
    const auto choices = random_texts(random);
    if (!std::ranges::all_of(choices, [&](const auto& text) { return can_spell(text, tokens); })) {
      ++refused;
      expect_error(ErrorCode::invalid_argument, "no tokens spell the choice \"",
                   [&] { static_cast<void>(one_of(choices, TokenBytes(tokens))); });
      return;
    }
    const auto constraint = one_of(choices, TokenBytes(tokens));
    EXPECT_EQ(constraint->vocab_size(), tokens.size());
    std::string said;
    while (true) {
      const std::vector<TokenId> allowed = allowed_by(*constraint);
      ASSERT_EQ(allowed, allowed_by_definition(said, choices, tokens)) << "after " << said;
      EXPECT_EQ(constraint->may_end(), std::ranges::count(choices, said) > 0);
      for (TokenId token = -1; token <= std::ssize(tokens); ++token) {
        if (!std::ranges::binary_search(allowed, token)) {
          EXPECT_FALSE(constraint->accept(token));
        }
      }
      if (allowed.empty()) {
        break;
      }
      const TokenId token = random.pick(allowed);
      ASSERT_TRUE(constraint->accept(token));
      said += tokens[static_cast<std::size_t>(token)];
    }
    EXPECT_EQ(std::ranges::count(choices, said) > 0, true) << said;
  });
  EXPECT_GT(refused, 0U);
}

TEST_F(Choices, ForksAndRollbacksEqualAFreshRun) {
  test::for_random_cases(200, [&](Random& random) {
    const auto tokens = random_vocabulary(random, true);
    const auto choices = random_texts(random);
    test::expect_forks_and_rollbacks_as_fresh(random, *one_of(choices, TokenBytes(tokens)),
                                              [](Constraint&) {});
  });
}

TEST_F(Choices, AllSpellingsAreAllowed) {
  const auto constraint = among({"hello"});
  // h, he, hell, hello
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{'h', 256, 258, 259}));
  ASSERT_TRUE(constraint->accept(256));
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{'l', 257}));
  EXPECT_FALSE(constraint->accept('h'));
  EXPECT_FALSE(constraint->may_end());
  ASSERT_TRUE(constraint->accept(257));
  ASSERT_TRUE(constraint->accept('o'));
  EXPECT_TRUE(constraint->may_end());
  EXPECT_TRUE(allowed_by(*constraint).empty());
}

TEST_F(Choices, PartsOfCharactersAndZeroBytesAreBytes) {
  const std::string zero("\0x", 2);
  const auto constraint = among({"é", zero, "ê"});
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{0, 0xC3}));
  ASSERT_TRUE(constraint->accept(0xC3));
  EXPECT_FALSE(constraint->may_end());
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{0xA9, 0xAA}));
  constraint->rollback(1);
  ASSERT_TRUE(constraint->accept(0));
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{'x'}));
}

TEST_F(Choices, StopTokensAndSpecialOnesAreNoPartOfAText) {
  EXPECT_EQ(tokens_.of(260), "");
  EXPECT_EQ(tokens_.of(259), "hello");
  const std::vector<TokenId> stops{259, 'h'};
  const auto constraint =
      one_of(std::vector<std::string>{"hello", "</s>"}, TokenBytes(tokenizer_, 262, stops));
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{'<', 256, 258}));
  expect_error(ErrorCode::token_out_of_range, "the stop token 262",
               [&] { TokenBytes(tokenizer_, 262, std::vector<TokenId>{262}); });
  expect_error(ErrorCode::token_out_of_range, "must be in [0, 262)",
               [&] { static_cast<void>(tokens_.of(262)); });
}

TEST_F(Choices, AVocabularyMayBeLargerOrSmallerThanTheTokenizers) {
  const auto larger = one_of(std::vector<std::string>{"hello"}, TokenBytes(tokenizer_, 300, {}));
  EXPECT_EQ(larger->vocab_size(), 300U);
  EXPECT_FALSE(larger->accept(299));
  const auto smaller = one_of(std::vector<std::string>{"hello"}, TokenBytes(tokenizer_, 257, {}));
  EXPECT_EQ(allowed_by(*smaller), (std::vector<TokenId>{'h', 256}));
  for (const std::size_t size : {std::size_t{0}, std::size_t{1} << 40U}) {
    expect_error(ErrorCode::invalid_argument, "must be of 1 to",
                 [&] { TokenBytes(tokenizer_, size, {}); });
  }
}

TEST_F(Choices, RefuseWhatNoTextCanBe) {
  const auto refused = [&](const std::vector<std::string>& choices, const std::string& message) {
    expect_error(ErrorCode::invalid_argument, message, [&] { static_cast<void>(among(choices)); });
  };
  refused({}, "no choices were given");
  refused({"a", ""}, "choice 2 of 2 is empty");
  refused({"a", "b\xC3"}, "choice 2 of 2, \"b\\ufffd\", is not UTF-8 from byte 1 on");
  refused({std::string((std::size_t{1} << 28U) + 1, 'a')}, "must have at most 268435456");
}

TEST_F(Choices, ManyAndLongOnesAreNoTrouble) {
  constexpr int kChoices = 100'000;
  std::vector<std::string> choices;
  choices.reserve(kChoices + 1);
  for (int i = 0; i < kChoices; ++i) {
    choices.push_back("hello " + std::to_string(i));
  }
  choices.emplace_back(1'000'000, 'l');
  const auto constraint = among(choices);
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{'h', 'l', 256, 257, 258, 259}));
  ASSERT_TRUE(constraint->accept(257));
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{'l', 257}));
  constraint->rollback(1);
  for (const TokenId token : {259, 32, int{'4'}, int{'2'}}) {
    ASSERT_TRUE(constraint->accept(token));
  }
  EXPECT_TRUE(constraint->may_end());
  EXPECT_EQ(allowed_by(*constraint).size(), 10U);
}

/// A token as long as a text: no walk may go as deep on the stack.
TEST_F(Choices, TokensMayBeLong) {
  const std::string text(1'000'000, 'a');
  const auto constraint = one_of(std::vector<std::string>{text, text + "b"},
                                 TokenBytes(std::vector<std::string>{text, text + "b", "b"}));
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{0, 1}));
}

// ---- Sequences of tokens
// -------------------------------------------------------------------------

TEST(ChoicesOfTokens, AreThoseSequences) {
  const std::vector<std::vector<TokenId>> moves{{3, 1}, {3, 1, 2}, {0}, {3, 4}, {0}};
  const auto constraint = one_of(moves, 5);
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{0, 3}));
  ASSERT_TRUE(constraint->accept(3));
  EXPECT_FALSE(constraint->accept(3));
  EXPECT_FALSE(constraint->accept(-1));
  EXPECT_FALSE(constraint->may_end());
  EXPECT_EQ(allowed_by(*constraint), (std::vector<TokenId>{1, 4}));
  ASSERT_TRUE(constraint->accept(1));
  EXPECT_TRUE(constraint->may_end());
  EXPECT_EQ(allowed_by(*constraint), std::vector<TokenId>{2});
  constraint->rollback(2);
  ASSERT_TRUE(constraint->accept(0));
  EXPECT_TRUE(constraint->may_end());
  EXPECT_TRUE(allowed_by(*constraint).empty());
}

TEST(ChoicesOfTokens, RefuseWhatIsNone) {
  const auto refused = [&](ErrorCode code, const std::vector<std::vector<TokenId>>& choices,
                           const char* message) {
    expect_error(code, message, [&] { static_cast<void>(one_of(choices, 5)); });
  };
  refused(ErrorCode::invalid_argument, {}, "no choices were given");
  refused(ErrorCode::invalid_argument, {{}, {1}}, "choice 1 of 2 is empty");
  refused(ErrorCode::token_out_of_range, {{1}, {2, 5}}, "choice 2 of 2 has token 5");
  refused(ErrorCode::token_out_of_range, {{-1}}, "token -1");
  refused(ErrorCode::invalid_argument, {std::vector<TokenId>((1U << 25U) + 1, 1)},
          "must have at most 33554432");
}

}  // namespace
}  // namespace kvcache
