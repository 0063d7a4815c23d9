#include "kvcache/logits.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "device/to_float32.hpp"
#include "kvcache/sampler.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"
#include "support/random_cuts.hpp"

namespace kvcache {
namespace {

class LogitsOfAModel : public testing::Test {
 protected:
  Model model_ = Model::load(test::model_path(test::golden_names().front()));
  Logits logits_ = model_.forward_without_cache(std::vector<TokenId>{1, 2, 3}, LogitsFor::all);
};

TEST_F(LogitsOfAModel, ArgmaxIsTheBestOfTopK) {
  for (std::size_t row = 0; row < logits_.rows(); ++row) {
    const std::vector<TokenScore> best = logits_.top_k(5, row);
    ASSERT_EQ(best.size(), 5U);
    EXPECT_EQ(best[0].token, logits_.argmax(row));
    for (std::size_t i = 1; i < best.size(); ++i) {
      EXPECT_GE(best[i - 1].logit, best[i].logit);
      EXPECT_EQ(best[i].logit, logits_.row(row)[static_cast<std::size_t>(best[i].token)]);
    }
  }
}

TEST_F(LogitsOfAModel, TopKStopsAtTheVocabulary) {
  EXPECT_EQ(logits_.top_k(1'000'000, 0).size(), model_.info().vocab_size);
  EXPECT_TRUE(logits_.top_k(0, 0).empty());
}

TEST_F(LogitsOfAModel, TheMemoryIsThatOfTheRows) {
  const LogitsMemory memory = logits_.memory();
  EXPECT_EQ(memory.type, model_.info().dtype);
  EXPECT_EQ(memory.device, model_.device());
  if (memory.device == Device::cuda) {
    return;  // tests/inference/cuda/logits_cuda_test.cpp brings it here
  }
  for (std::size_t row = 0; row < logits_.rows(); ++row) {
    const auto* const bytes = static_cast<const std::byte*>(memory.data) +
                              row * logits_.vocab_size() * data_type_size(memory.type);
    std::vector<float> values;
    device::to_float32(memory.type, bytes, logits_.vocab_size(), values);
    EXPECT_TRUE(std::ranges::equal(values, logits_.row(row))) << "row " << row;
  }
}

/// Whether they are on the host or the k best are found where they are.
TEST_F(LogitsOfAModel, TokensAreDrawnAsFromTheirRow) {
  const auto vocabulary = static_cast<std::int64_t>(model_.info().vocab_size);
  test::for_random_cases(60, [&](test::Random& random) {
    SamplingOptions options = test::random_cuts(random, 0, random.chance(0.5) ? 8 : vocabulary);
    options.seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
    if (random.chance(0.1)) {
      options.temperature = 0;
    }
    if (random.chance(0.2)) {
      options.logit_bias = {{1, 2.0F}};
    }
    Sampler sampler(options);
    for (std::size_t row = 0; row < logits_.rows(); ++row) {
      TokenMask allowed(static_cast<std::size_t>(vocabulary));
      for (std::int64_t left = random.integer(1, random.chance(0.3) ? 4 : 200); left > 0; --left) {
        allowed.allow(random.integer(0, vocabulary - 1));
      }
      const bool constrained = random.chance(0.5);
      const SamplingContext context{.position = row, .allowed = constrained ? &allowed : nullptr};
      EXPECT_EQ(sampler.sample(logits_, row, context), sampler.sample(logits_.row(row), context))
          << "row " << row << ", top_k " << options.top_k;
    }
  });
}

TEST_F(LogitsOfAModel, LogProbabilitiesAreThoseOfTheSoftmax) {
  const std::vector<TokenId> tokens{5, 0, 5, static_cast<TokenId>(model_.info().vocab_size) - 1};
  for (std::size_t row = 0; row < logits_.rows(); ++row) {
    double sum = 0;
    for (const float logit : logits_.row(row)) {
      sum += std::exp(static_cast<double>(logit));
    }
    const std::vector<float> found = logits_.log_probabilities(tokens, row);
    ASSERT_EQ(found.size(), tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const double logit = logits_.row(row)[static_cast<std::size_t>(tokens[i])];
      EXPECT_NEAR(found[i], logit - std::log(sum), 1e-5 * (1 + std::abs(found[i])));
    }
  }
}

TEST_F(LogitsOfAModel, LogProbabilitiesOfManyRowsAreThoseOfEach) {
  test::for_random_cases(40, [&](test::Random& random) {
    std::vector<RowToken> asked;
    for (std::int64_t left = random.integer(0, 30); left > 0; --left) {
      asked.push_back({static_cast<std::size_t>(random.integer(0, 2)),
                       random.integer(0, static_cast<TokenId>(model_.info().vocab_size) - 1)});
    }
    const std::vector<float> found = logits_.log_probabilities(asked);
    ASSERT_EQ(found.size(), asked.size());
    for (std::size_t i = 0; i < asked.size(); ++i) {
      const double logit = logits_.row(asked[i].row)[static_cast<std::size_t>(asked[i].token)];
      const double expected = logit - logits_.log_sum_exp(asked[i].row);
      EXPECT_NEAR(found[i], expected, 1e-5 * (1 + std::abs(expected)));
    }
  });
}

TEST_F(LogitsOfAModel, TheSumOfASoftmaxIsThatOfTheRow) {
  for (std::size_t row = 0; row < logits_.rows(); ++row) {
    for (const double temperature : {0.1, 1.0, 7.0}) {
      double sum = 0;
      for (const float logit : logits_.row(row)) {
        sum += std::exp(static_cast<double>(logit) / temperature);
      }
      EXPECT_NEAR(logits_.log_sum_exp(row, temperature), std::log(sum), 1e-11);
    }
  }
  test::expect_error(
      ErrorCode::invalid_argument,
      "the sum over a row was asked for at temperature 0, must be above 0 and finite",
      [&] { (void)logits_.log_sum_exp(0, 0); });
  test::expect_error(ErrorCode::invalid_argument, "logits row 3 was asked for, there are 3",
                     [&] { (void)logits_.log_sum_exp(3); });
}

TEST_F(LogitsOfAModel, OfAllowedTokensTheBestAndTheSum) {
  const auto vocabulary = static_cast<std::int64_t>(model_.info().vocab_size);
  test::for_random_cases(40, [&](test::Random& random) {
    TokenMask allowed(model_.info().vocab_size);
    for (std::int64_t left = random.integer(0, 60); left > 0; --left) {
      allowed.allow(random.integer(0, vocabulary - 1));
    }
    const auto row = static_cast<std::size_t>(random.integer(0, 2));
    std::vector<TokenId> order = allowed.tokens(allowed.count());
    const auto logit = [&](TokenId token) {
      return logits_.row(row)[static_cast<std::size_t>(token)];
    };
    std::ranges::stable_sort(order, std::ranges::greater(), logit);
    const auto k = static_cast<std::size_t>(random.integer(0, 70));
    const std::vector<TokenScore> best = logits_.top_k(k, row, allowed);
    ASSERT_EQ(best.size(), std::min(k, order.size()));
    for (std::size_t i = 0; i < best.size(); ++i) {
      EXPECT_EQ(best[i].token, order[i]);
      EXPECT_EQ(best[i].logit, logit(order[i]));
    }
    double sum = 0;
    for (const TokenId token : order) {
      sum += std::exp(static_cast<double>(logit(token)) / 0.7);
    }
    const double found = logits_.log_sum_exp(row, 0.7, allowed);
    if (order.empty()) {
      EXPECT_EQ(found, -std::numeric_limits<double>::infinity());
    } else {
      EXPECT_NEAR(found, std::log(sum), 1e-11);
    }
  });
  const TokenMask other(5);
  const std::string said = "the mask of allowed tokens is of a vocabulary of 5";
  test::expect_error(ErrorCode::invalid_argument, said, [&] { (void)logits_.top_k(1, 0, other); });
  test::expect_error(ErrorCode::invalid_argument, said,
                     [&] { (void)logits_.log_sum_exp(0, 1, other); });
}

TEST_F(LogitsOfAModel, LogProbabilitiesAreOfTokensOfTheVocabulary) {
  test::expect_error(ErrorCode::token_out_of_range, "the log-probability of token -1 was asked for",
                     [&] {
                       (void)logits_.log_probabilities(std::vector<TokenId>{1, -1}, 0);
                     });
  test::expect_error(ErrorCode::invalid_argument, "logits row 3 was asked for, there are 3",
                     [&] { (void)logits_.log_probabilities({}, 3); });
  test::expect_error(ErrorCode::invalid_argument, "logits row 3 was asked for, there are 3", [&] {
    (void)logits_.log_probabilities(std::vector<RowToken>{{0, 1}, {3, 1}});
  });
  test::expect_error(ErrorCode::token_out_of_range, "the log-probability of token -1 was asked for",
                     [&] {
                       (void)logits_.log_probabilities(std::vector<RowToken>{{0, 1}, {2, -1}});
                     });
}

TEST_F(LogitsOfAModel, RefusesARowThatIsNotThere) {
  test::expect_error(ErrorCode::invalid_argument, "logits row 3 was asked for, there are 3",
                     [&] { (void)logits_.row(3); });
}

}  // namespace
}  // namespace kvcache
