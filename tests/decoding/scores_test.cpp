#include "decoding/scores.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/models.hpp"

namespace kvcache::decoding {
namespace {

using test::expect_error;
using Tokens = std::vector<TokenId>;

class Scores : public testing::Test {
 protected:
  void SetUp() override {
    if (!model_.invariant_results()) {
      GTEST_SKIP() << "arithmetic of 16 bits is ONNX Runtime's on the CPU";
    }
  }

  /// Of the last tokens of a text, from `first` on, each computed from nothing.
  void expect_scores(const TokenScores& found, const Tokens& text, std::size_t first) const {
    ASSERT_EQ(found.log_probabilities.size(), text.size() - first);
    bool greedy = true;
    double sum = 0;
    for (std::size_t i = first; i < text.size(); ++i) {
      const Logits logits = model_.forward_without_cache(std::span(text).first(i));
      const float expected = logits.log_probabilities({&text[i], 1}, 0).front();
      EXPECT_EQ(found.log_probabilities[i - first], expected) << "token " << i;
      greedy = greedy && logits.argmax() == text[i];
      sum += expected;
    }
    EXPECT_EQ(found.greedy, greedy);
    EXPECT_NEAR(found.log_probability(), sum, 1e-9);
    EXPECT_NEAR(found.perplexity(), std::exp(-sum / static_cast<double>(text.size() - first)),
                1e-6 * found.perplexity());
  }

  static Model load() {
    ModelOptions options;
    options.cache_bytes = std::size_t{64} << 20U;  // for many texts at once
    return Model::load(test::model_path("plain"), options);
  }

  test::ForcedCpu forced_cpu_;  // where results are the same bits in any company
  Model model_ = load();
  Sequence sequence_ = model_.new_sequence();
};

TEST_F(Scores, OfContinuationsAreThoseOfEachAlone) {
  test::for_random_cases(20, [&](test::Random& random) {
    const Tokens prefix = test::random_tokens(random, model_.info(), random.integer(1, 12));
    std::vector<Tokens> continuations;
    std::vector<std::size_t> first;
    for (std::int64_t left = random.integer(1, 6); left > 0; --left) {
      Tokens tokens = test::random_tokens(random, model_.info(), random.integer(1, 6));
      if (!continuations.empty() && random.chance(0.5)) {  // begins as another one does
        const Tokens& other = random.pick(continuations);
        tokens.insert(tokens.begin(), other.begin(), other.end());
      }
      if (random.chance(0.3)) {
        tokens.front() = model_.forward_without_cache(prefix).argmax();
      }
      first.push_back(static_cast<std::size_t>(random.integer(0, std::ssize(tokens) - 1)));
      continuations.push_back(tokens);
    }
    sequence_.reset();
    const auto found = score_continuations(sequence_, prefix, continuations, first);
    EXPECT_TRUE(std::ranges::equal(sequence_.tokens(), prefix));
    ASSERT_EQ(found.size(), continuations.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      Tokens text = prefix;
      text.insert(text.end(), continuations[i].begin(), continuations[i].end());
      expect_scores(found[i], text, prefix.size() + first[i]);
    }
  });
}

TEST_F(Scores, OfMoreContinuationsThanATreeTakes) {
  std::vector<Tokens> continuations;
  continuations.reserve(60);
  for (TokenId token = 0; token < 60; ++token) {
    continuations.emplace_back(40, token);
  }
  const std::vector<std::size_t> first(continuations.size());
  const auto found = score_continuations(sequence_, Tokens{1, 2}, continuations, first);
  ASSERT_EQ(found.size(), continuations.size());
  for (const std::size_t i : {std::size_t{0}, std::size_t{30}, std::size_t{59}}) {
    Tokens text{1, 2};
    text.insert(text.end(), continuations[i].begin(), continuations[i].end());
    expect_scores(found[i], text, 2);
  }
}

TEST_F(Scores, OfATextAreThoseOfItsTokens) {
  test::for_random_cases(10, [&](test::Random& random) {
    const Tokens text = test::random_tokens(random, model_.info(), random.integer(2, 64));
    sequence_.reset();
    expect_scores(score_text(sequence_, text), text, 1);
  });
}

TEST_F(Scores, RefuseWhatCannotBeScored) {
  expect_error(ErrorCode::empty_input, "a text of 1 tokens has none to score",
               [&] { score_text(sequence_, Tokens{1}); });
  expect_error(ErrorCode::context_full, "do not fit the model's positions",
               [&] { score_text(sequence_, Tokens(1000, 1)); });
  const TokenId outside = static_cast<TokenId>(model_.info().vocab_size);
  expect_error(ErrorCode::token_out_of_range, "", [&] {
    score_continuations(sequence_, Tokens{1}, std::vector<Tokens>{{2, outside}},
                        std::vector<std::size_t>{0});
  });
  EXPECT_EQ(sequence_.length(), 0U);
}

}  // namespace
}  // namespace kvcache::decoding
