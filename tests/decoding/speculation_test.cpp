#include "kvcache/speculation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_error;
using test::Random;
using test::random_tokens;

/// Knows a text and guesses its next tokens, some of them wrong, among others, in any shape.
class RandomDrafter final : public Drafter {
 public:
  RandomDrafter(Random& random, std::vector<TokenId> text, std::size_t vocab_size)
      : random_(random), text_(std::move(text)), vocab_size_(vocab_size) {}

  TokenTree draft(std::span<const TokenId> text, std::size_t most) override {
    TokenTree tree;
    const auto nodes = random_.integer(0, static_cast<std::int64_t>(most));
    std::vector<std::size_t> depths;
    for (std::int64_t i = 0; i < nodes; ++i) {
      const auto parent = static_cast<std::int32_t>(random_.integer(-1, i - 1));
      const std::size_t depth = parent < 0 ? 0 : depths[static_cast<std::size_t>(parent)] + 1;
      depths.push_back(depth);
      const std::size_t at = text.size() + depth;
      const bool right = at < text_.size() && random_.chance(0.8);
      tree.parents.push_back(parent);
      tree.tokens.push_back(right ? text_[at]
                                  : random_.integer(0, static_cast<std::int64_t>(vocab_size_) - 1));
    }
    return tree;
  }

 private:
  Random& random_;
  std::vector<TokenId> text_;
  std::size_t vocab_size_;
};

/// Always guesses the same.
class FixedDrafter final : public Drafter {
 public:
  explicit FixedDrafter(TokenTree tree) : tree_(std::move(tree)) {}
  TokenTree draft(std::span<const TokenId>, std::size_t) override { return tree_; }

 private:
  TokenTree tree_;
};

/// A path as long as is asked for.
class WrongDrafter final : public Drafter {
 public:
  TokenTree draft(std::span<const TokenId>, std::size_t most) override {
    TokenTree tree;
    for (std::size_t i = 0; i < most; ++i) {
      tree.tokens.push_back(1);
      tree.parents.push_back(static_cast<std::int32_t>(i) - 1);
    }
    return tree;
  }
};

std::vector<TokenId> joined(std::vector<TokenId> text, const std::vector<TokenId>& more) {
  text.insert(text.end(), more.begin(), more.end());
  return text;
}

GenerateOptions random_options(Random& random, const ModelInfo& info, std::size_t prompt) {
  GenerateOptions options{.max_new_tokens = static_cast<std::size_t>(random.integer(
                              1, static_cast<std::int64_t>(info.max_seq_len - prompt + 1)))};
  options.sampling.temperature = random.chance(0.5) ? 0 : 0.3;
  options.sampling.repetition_penalty = random.chance(0.3) ? 1.2 : 1;
  options.sampling.seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
  if (random.chance(0.3)) {
    options.stop_tokens = random_tokens(random, info, 1);
  }
  return options;
}

/// Whatever is guessed: the text, why it ended and what the sequence then holds are generate()'s.
TEST(Speculation, GivesTheTextThatIsGeneratedWithoutIt) {
  if (!Model::load(test::model_path(test::golden_names().front())).invariant_results()) {
    GTEST_SKIP() << "a token's bits depend on its company here";
  }
  std::uint64_t accepted = 0;
  for (const std::string& name : test::golden_names()) {
    SCOPED_TRACE(name);
    const Model model = Model::load(test::model_path(name));
    ASSERT_TRUE(model.invariant_results());
    test::for_random_cases(8, [&](Random& random) {
      const auto most = static_cast<std::int64_t>(model.info().max_seq_len);
      const std::vector<TokenId> prompt =
          random_tokens(random, model.info(), random.integer(1, most / 2));
      const GenerateOptions options = random_options(random, model.info(), prompt.size());
      Sequence alone = model.new_sequence();
      const Generated expected = generate(alone, prompt, options);

      RandomDrafter of_chance(random, joined(prompt, expected.tokens), model.info().vocab_size);
      PromptLookup of_text(3, 1);
      DraftModel of_model(model);
      for (Drafter* drafter : {static_cast<Drafter*>(&of_chance), static_cast<Drafter*>(&of_text),
                               static_cast<Drafter*>(&of_model)}) {
        Sequence sequence = model.new_sequence();
        SpeculationStats stats;
        std::vector<TokenId> told;
        const Generated found =
            generate(sequence, prompt, options, *drafter,
                     {.max_drafts = static_cast<std::size_t>(random.integer(0, 31))}, &stats,
                     [&](const NewToken& token) {
                       told.push_back(token.token);
                       return true;
                     });
        ASSERT_EQ(found.tokens, expected.tokens);
        ASSERT_EQ(told, expected.tokens);
        ASSERT_EQ(found.finish_reason, expected.finish_reason);
        ASSERT_TRUE(std::ranges::equal(sequence.tokens(), alone.tokens()));
        ASSERT_EQ(stats.runs + stats.accepted, expected.tokens.size() - 1);
        ASSERT_LE(stats.accepted, stats.drafted);
        accepted += stats.accepted;
        if (sequence.fits(1)) {  // what it holds is what it would have computed
          const TokenId next = found.tokens.back();
          Sequence other = alone.fork();
          const Logits logits = sequence.extend({&next, 1});
          ASSERT_TRUE(std::ranges::equal(logits.last(), other.extend({&next, 1}).last()));
        }
      }
      model.check_cache_invariants();
    });
  }
  EXPECT_GT(accepted, 0U);
}

class SpeculationOnAGolden : public testing::Test {
 protected:
  Model model_ = Model::load(test::model_path(test::golden_names().front()));
  Sequence sequence_ = model_.new_sequence();
  std::vector<TokenId> prompt_{3, 1, 2};
  GenerateOptions greedily_{.max_new_tokens = 12, .sampling = {.temperature = 0}};
};

TEST_F(SpeculationOnAGolden, TheModelItselfGuessesRight) {
  DraftModel drafter(model_);
  SpeculationStats stats;
  const Generated found = generate(sequence_, prompt_, greedily_, drafter, {}, &stats);
  ASSERT_EQ(found.tokens.size(), 12U);
  if (model_.invariant_results()) {
    EXPECT_EQ(stats.accepted, stats.drafted);
    EXPECT_LT(stats.runs, 11U);
  }
}

TEST_F(SpeculationOnAGolden, EndsInTheMidstOfAPathWhereTheCallbackSaysSo) {
  DraftModel drafter(model_);
  std::size_t told = 0;
  const Generated found = generate(sequence_, prompt_, greedily_, drafter, {}, nullptr,
                                   [&](const NewToken&) { return ++told < 5; });
  EXPECT_EQ(found.finish_reason, FinishReason::cancelled);
  EXPECT_EQ(found.tokens.size(), 5U);
  EXPECT_EQ(sequence_.length(), prompt_.size() + 4);
}

TEST_F(SpeculationOnAGolden, LeavesTheSequenceAsItWasWhereTheCallbackThrows) {
  static_cast<void>(sequence_.extend(prompt_));
  DraftModel drafter(model_);
  std::size_t told = 0;
  EXPECT_THROW(generate(sequence_, prompt_, greedily_, drafter, {}, nullptr,
                        [&](const NewToken&) -> bool {
                          if (++told == 6) {
                            throw std::runtime_error("enough");
                          }
                          return true;
                        }),
               std::runtime_error);
  EXPECT_TRUE(std::ranges::equal(sequence_.tokens(), prompt_));
  model_.check_cache_invariants();
}

TEST_F(SpeculationOnAGolden, RefusesWhatIsNoTree) {
  const auto refused = [&](TokenTree tree, const char* message) {
    FixedDrafter drafter(std::move(tree));
    expect_error(ErrorCode::invalid_argument, message, [&] {
      static_cast<void>(generate(sequence_, prompt_, greedily_, drafter, {.max_drafts = 3}));
    });
    EXPECT_EQ(sequence_.length(), 0U);
  };
  refused({.tokens = {1, 2}, .parents = {-1}}, "2 tokens and 1 parents");
  refused({.tokens = {1, 2}, .parents = {-1, 0}}, "1 at most");  // the first run asks for one
  refused({.tokens = {1}, .parents = {0}}, "node 0 of a tree the parent 0");
  refused({.tokens = {1}, .parents = {-2}}, "node 0 of a tree the parent -2");
  FixedDrafter outside(
      {.tokens = {static_cast<TokenId>(model_.info().vocab_size)}, .parents = {-1}});
  expect_error(ErrorCode::token_out_of_range, "vocabulary",
               [&] { static_cast<void>(generate(sequence_, prompt_, greedily_, outside)); });
  EXPECT_EQ(sequence_.length(), 0U);
}

/// A cache that has room for the text and none for guesses.
TEST_F(SpeculationOnAGolden, NeedsNoMoreCacheThanTheText) {
  ModelOptions options;
  options.block_len = 4;
  options.cache_bytes = std::size_t{4} * 4 * model_.info().cache_bytes_per_token();
  const Model small = Model::load(test::model_path(test::golden_names().front()), options);
  Sequence alone = small.new_sequence();
  greedily_.max_new_tokens = 14;  // 3 + 13 tokens fill the four blocks
  const Generated expected = generate(alone, prompt_, greedily_);
  alone.reset();
  WrongDrafter drafter;
  Sequence sequence = small.new_sequence();
  const Generated found = generate(sequence, prompt_, greedily_, drafter, {.max_drafts = 3});
  if (small.invariant_results()) {
    EXPECT_EQ(found.tokens, expected.tokens);
  }
  EXPECT_EQ(found.tokens.size(), 14U);
  EXPECT_EQ(sequence.length(), 16U);
}

TEST(PromptLookupTest, GuessesWhatFollowedTheLastTokensBefore) {
  PromptLookup drafter(3, 2);
  const std::vector<TokenId> text{1, 2, 3, 4, 5, 9, 1, 2, 3};
  const TokenTree tree = drafter.draft(text, 3);
  EXPECT_EQ(tree.tokens, (std::vector<TokenId>{4, 5, 9}));
  EXPECT_EQ(tree.parents, (std::vector<std::int32_t>{-1, 0, 1}));
  EXPECT_TRUE(drafter.draft(text, 0).tokens.empty());
}

TEST(PromptLookupTest, TakesTheLongestPlaceAndTheLatest) {
  PromptLookup drafter(3, 1);
  // "1 2 3" stood at the beginning; "2 3" later, before 8.
  EXPECT_EQ(drafter.draft(std::vector<TokenId>{1, 2, 3, 7, 2, 3, 8, 1, 2, 3}, 1).tokens,
            std::vector<TokenId>{7});
  EXPECT_EQ(drafter.draft(std::vector<TokenId>{5, 6, 5, 7, 5}, 1).tokens, std::vector<TokenId>{7});
}

TEST(PromptLookupTest, HoldsBothWhereTwoPlacesWentOnDifferently) {
  PromptLookup drafter(2, 1);
  const TokenTree tree = drafter.draft(std::vector<TokenId>{5, 6, 8, 5, 7, 9, 5}, 4);
  EXPECT_EQ(tree.tokens, (std::vector<TokenId>{7, 9, 6, 8}));
  EXPECT_EQ(tree.parents, (std::vector<std::int32_t>{-1, 0, -1, 2}));
}

TEST(PromptLookupTest, GuessesNothingFromANewText) {
  PromptLookup drafter;
  EXPECT_TRUE(drafter.draft(std::vector<TokenId>{1, 2, 3, 4}, 8).tokens.empty());
  EXPECT_TRUE(drafter.draft(std::vector<TokenId>{}, 8).tokens.empty());
  EXPECT_TRUE(drafter.draft(std::vector<TokenId>{1, 1}, 8).tokens.empty());
}

TEST(PromptLookupTest, RefusesToLookForNothing) {
  expect_error(ErrorCode::invalid_argument, "0 to 3 last tokens", [] { PromptLookup(3, 0); });
  expect_error(ErrorCode::invalid_argument, "4 to 3 last tokens", [] { PromptLookup(3, 4); });
}

}  // namespace
}  // namespace kvcache
