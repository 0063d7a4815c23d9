#include "report/rank_test.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "report/statistics.hpp"

namespace kvcache::report {
namespace {

using Samples = std::vector<double>;

double pairs_won(const Samples& first, const Samples& second) {
  double won = 0;
  for (const double a : first) {
    for (const double b : second) {
      won += a > b ? 1 : 0;
    }
  }
  return won;
}

/// The p of all ways to divide the samples, by going through them.
double enumerated_p(const Samples& first, const Samples& second) {
  Samples all = first;
  all.insert(all.end(), second.begin(), second.end());
  const double middle = static_cast<double>(first.size() * second.size()) / 2;
  const double found = std::abs(pairs_won(first, second) - middle);
  std::vector<int> chosen(all.size(), 0);
  std::fill(chosen.end() - static_cast<std::ptrdiff_t>(first.size()), chosen.end(), 1);
  double ways = 0;
  double as_far = 0;
  do {
    Samples one;
    Samples other;
    for (std::size_t i = 0; i < all.size(); ++i) {
      (chosen[i] != 0 ? one : other).push_back(all[i]);
    }
    ways += 1;
    as_far += std::abs(pairs_won(one, other) - middle) >= found ? 1 : 0;
  } while (std::next_permutation(chosen.begin(), chosen.end()));
  return as_far / ways;
}

TEST(RankTest, IsExactOverRandomSamples) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal(10, 1);
  for (int round = 0; round < 30; ++round) {
    Samples first(2 + random() % 5);
    Samples second(2 + random() % 5);
    std::ranges::generate(first, [&] { return normal(random); });
    std::ranges::generate(second, [&] { return normal(random) + 0.5 * (round % 5); });
    EXPECT_NEAR(mann_whitney_p(first, second), enumerated_p(first, second), 1e-12);
  }
}

TEST(RankTest, OfRoundsThatAreApartIsAsSmallAsTheirNumberPermits) {
  EXPECT_NEAR(mann_whitney_p({1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}), 2.0 / 252, 1e-12);
  EXPECT_NEAR(least_mann_whitney_p(5, 5), 2.0 / 252, 1e-12);
  EXPECT_NEAR(least_mann_whitney_p(3, 3), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(least_mann_whitney_p(1, 1), 1);
}

TEST(RankTest, SeesNothingInTiesAlone) {
  EXPECT_DOUBLE_EQ(mann_whitney_p({2, 2, 2, 2, 2}, {2, 2, 2, 2, 2}), 1);
}

TEST(RankTest, GoesOnWithTheNormalApproximation) {
  Samples first(60);
  std::iota(first.begin(), first.end(), 0.0);
  Samples second(50);
  std::iota(second.begin(), second.end(), 5.25);
  Samples shorter(first.begin() + 5, first.begin() + 55);
  // Beyond and within the limit of the exact test the same question has nearly the same answer.
  EXPECT_NEAR(mann_whitney_p(first, second), 0.93, 0.06);
  EXPECT_NEAR(mann_whitney_p(shorter, second), 0.9, 0.1);
}

TEST(RankTest, IntervalBelongsToTheTest) {
  std::mt19937 random(11);
  std::normal_distribution<double> normal(10, 1);
  int outside = 0;
  for (int round = 0; round < 200; ++round) {
    Samples first(5 + random() % 3);
    Samples second(5 + random() % 3);
    std::ranges::generate(first, [&] { return normal(random); });
    const double shift = round % 4;
    std::ranges::generate(second, [&] { return normal(random) + shift; });
    const RatioInterval interval = ratio_interval(first, second);
    const bool without_one = interval.low > 1 || interval.high < 1;
    EXPECT_EQ(without_one, mann_whitney_p(first, second) <= 0.05) << "round " << round;
    EXPECT_LE(interval.low, interval.ratio);
    EXPECT_LE(interval.ratio, interval.high);
    EXPECT_GE(interval.coverage, 0.95);
    outside += without_one ? 1 : 0;
  }
  EXPECT_GT(outside, 50);
  EXPECT_LT(outside, 150);
}

TEST(RankTest, IntervalOfTooFewSamplesSaysHowMuchItCovers) {
  const RatioInterval interval = ratio_interval({1, 1, 1}, {2, 2.5, 3});
  EXPECT_DOUBLE_EQ(interval.low, 2);
  EXPECT_DOUBLE_EQ(interval.ratio, 2.5);
  EXPECT_DOUBLE_EQ(interval.high, 3);
  EXPECT_NEAR(interval.coverage, 0.9, 1e-12);
}

TEST(RankTest, AdjustsForTheNumberOfTests) {
  // Benjamini and Hochberg's procedure: p · tests ÷ rank, never more than of a larger p.
  const Samples adjusted = false_discovery_adjusted({0.04, 0.01, 0.03, 0.5});
  EXPECT_NEAR(adjusted[0], 0.04 * 4 / 3, 1e-12);
  EXPECT_NEAR(adjusted[1], 0.04, 1e-12);
  EXPECT_NEAR(adjusted[2], 0.04 * 4 / 3, 1e-12);
  EXPECT_NEAR(adjusted[3], 0.5, 1e-12);
}

}  // namespace
}  // namespace kvcache::report
