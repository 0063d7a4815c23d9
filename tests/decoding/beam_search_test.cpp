#include "kvcache/beam_search.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_error;

class BeamSearch : public testing::Test {
 protected:
  /// Of tokens after the prompt, computed from nothing.
  [[nodiscard]] double log_probability(const std::vector<TokenId>& tokens) const {
    std::vector<TokenId> text = prompt_;
    double sum = 0;
    for (const TokenId token : tokens) {
      const Logits logits = model_.forward_without_cache(text);
      sum += logits.log_probabilities(std::vector<TokenId>{token}, 0).front();
      text.push_back(token);
    }
    return sum;
  }

  static Model load() {
    ModelOptions options;
    options.cache_bytes = std::size_t{64} << 20U;  // for many texts at once
    return Model::load(test::model_path("plain"), options);
  }

  Model model_ = load();
  Sequence sequence_ = model_.new_sequence();
  std::vector<TokenId> prompt_{3, 1, 2};
};

TEST_F(BeamSearch, OneBeamTakesTheLargestLogits) {
  const std::vector<Beam> found =
      beam_search(sequence_, prompt_, {.beams = 1, .max_new_tokens = 6});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(std::ranges::equal(sequence_.tokens(), prompt_));
  Sequence other = model_.new_sequence();
  const GenerateOptions greedily{.max_new_tokens = 6, .sampling = {.temperature = 0}};
  EXPECT_EQ(found.front().tokens, generate(other, prompt_, greedily).tokens);
  EXPECT_EQ(found.front().finish_reason, FinishReason::length);
}

TEST_F(BeamSearch, AsManyBeamsAsTokensFindTheBestOfAllTexts) {
  const std::size_t vocab_size = model_.info().vocab_size;
  const std::vector<Beam> found =
      beam_search(sequence_, prompt_, {.beams = vocab_size, .max_new_tokens = 2});
  // All texts of two tokens, by a tree.
  std::vector<std::pair<double, std::vector<TokenId>>> all;
  Sequence prefix = model_.new_sequence();
  const Logits first = prefix.extend(prompt_);
  TokenTree tree;
  for (std::size_t token = 0; token < vocab_size; ++token) {
    tree.tokens.push_back(static_cast<TokenId>(token));
    tree.parents.push_back(-1);
  }
  const std::vector<float> of_first = first.log_probabilities(tree.tokens, 0);
  const TreeEvaluation second = prefix.evaluate(tree);
  for (std::size_t token = 0; token < vocab_size; ++token) {
    const std::vector<float> of_second = second.logits().log_probabilities(tree.tokens, token);
    for (std::size_t next = 0; next < vocab_size; ++next) {
      all.push_back({-(static_cast<double>(of_first[token]) + of_second[next]),
                     {static_cast<TokenId>(token), static_cast<TokenId>(next)}});
    }
  }
  std::ranges::sort(all);
  ASSERT_EQ(found.size(), vocab_size);
  for (std::size_t i = 0; i < vocab_size; ++i) {
    EXPECT_NEAR(found[i].log_probability, -all[i].first, 1e-5);
    EXPECT_NEAR(found[i].score, -all[i].first / 2, 1e-5);
  }
  EXPECT_EQ(found.front().tokens, all.front().second);
}

TEST_F(BeamSearch, EachTextHasItsLogProbability) {
  if (!model_.invariant_results()) {
    GTEST_SKIP() << "a token's bits depend on its company here";
  }
  test::for_random_cases(8, [&](test::Random& random) {
    BeamOptions options{.beams = static_cast<std::size_t>(random.integer(1, 6)),
                        .max_new_tokens = static_cast<std::size_t>(random.integer(1, 7))};
    options.length_penalty = random.pick(std::vector<double>{0, 0.5, 1, 2});
    for (std::int64_t left = random.integer(0, 8); left > 0; --left) {
      options.stop_tokens.push_back(
          random.integer(0, static_cast<std::int64_t>(model_.info().vocab_size) - 1));
    }
    sequence_.reset();
    const std::vector<Beam> found = beam_search(sequence_, prompt_, options);
    EXPECT_EQ(found.size(), options.beams);
    EXPECT_TRUE(std::ranges::is_sorted(found, std::greater<>(), &Beam::score));
    for (const Beam& beam : found) {
      EXPECT_NEAR(beam.log_probability, log_probability(beam.tokens), 1e-4);
      const auto length = static_cast<double>(beam.tokens.size());
      EXPECT_NEAR(beam.score, beam.log_probability / std::pow(length, options.length_penalty),
                  1e-9);
      const auto stop = std::ranges::find_first_of(beam.tokens, options.stop_tokens);
      if (beam.finish_reason == FinishReason::stop_token) {
        EXPECT_EQ(stop, beam.tokens.end() - 1);
      } else {
        EXPECT_EQ(stop, beam.tokens.end());
        EXPECT_EQ(beam.tokens.size(), options.max_new_tokens);
      }
    }
  });
}

TEST_F(BeamSearch, GivesBackWhatItsTextsHeld) {
  const std::size_t before = model_.cache_stats().blocks_in_use;
  static_cast<void>(beam_search(sequence_, prompt_, {.beams = 8, .max_new_tokens = 5}));
  EXPECT_EQ(model_.cache_stats().blocks_in_use - before, 1U);  // of the prompt
}

TEST_F(BeamSearch, EndsWhenItIsToldTo) {
  int asked = 0;
  const std::vector<Beam> found = beam_search(sequence_, prompt_, {.beams = 3, .max_new_tokens = 9},
                                              [&] { return ++asked < 3; });
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found.front().tokens.size(), 3U);
}

TEST_F(BeamSearch, LetsWhatTheCallbackThrowsPassAsItIs) {
  static_cast<void>(sequence_.extend(std::vector<TokenId>{5, 6}));
  const std::size_t before = model_.cache_stats().blocks_in_use;
  int asked = 0;
  const auto throw_at_third = [&]() -> bool {
    if (++asked == 3) {
      throw std::out_of_range("enough");
    }
    return true;
  };
  try {
    beam_search(sequence_, prompt_, {.beams = 3, .max_new_tokens = 9}, throw_at_third);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "enough");
  }
  EXPECT_EQ(asked, 3);
  EXPECT_TRUE(std::ranges::equal(sequence_.tokens(), std::vector<TokenId>{5, 6}));
  EXPECT_EQ(model_.cache_stats().blocks_in_use, before);
  struct OfTheCaller {};  // no std::exception
  EXPECT_THROW(beam_search(sequence_, prompt_, {.beams = 3, .max_new_tokens = 9},
                           []() -> bool { throw OfTheCaller(); }),
               OfTheCaller);
  EXPECT_EQ(sequence_.length(), 2U);
}

TEST_F(BeamSearch, RefusesOptionsOutsideTheirRange) {
  for (const std::size_t beams : {std::size_t{0}, std::size_t{1025}}) {
    expect_error(ErrorCode::invalid_argument, "beams were asked for, must be from 1 to 1024",
                 [&] { beam_search(sequence_, prompt_, {.beams = beams, .max_new_tokens = 1}); });
  }
  expect_error(ErrorCode::invalid_argument, "the length penalty is nan", [&] {
    beam_search(sequence_, prompt_,
                {.max_new_tokens = 1, .length_penalty = std::numeric_limits<double>::quiet_NaN()});
  });
  expect_error(ErrorCode::context_full, "do not fit",
               [&] { beam_search(sequence_, prompt_, {.max_new_tokens = 1000}); });
  expect_error(ErrorCode::token_out_of_range, "the stop token -1", [&] {
    beam_search(sequence_, prompt_, {.max_new_tokens = 1, .stop_tokens = {-1}});
  });
  EXPECT_EQ(sequence_.length(), 0U);
}

}  // namespace
}  // namespace kvcache
