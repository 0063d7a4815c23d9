#include "decoding/candidates.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/top_k_cpu.hpp"
#include "support/random_cases.hpp"
#include "support/random_cuts.hpp"

namespace kvcache::decoding {
namespace {

std::vector<float> random_logits(test::Random& random, std::int64_t count) {
  std::vector<float> logits(static_cast<std::size_t>(count));
  const float step = random.chance(0.5) ? 0.5F : 0;  // many are equal
  std::ranges::generate(logits, [&] {
    return step > 0 ? step * static_cast<float>(random.integer(-6, 6)) : 3 * random.normal();
  });
  return logits;
}

/// The k likeliest tokens and what equals the last of them.
std::vector<TokenScore> likeliest(const std::vector<float>& logits, std::size_t k) {
  std::vector<std::int32_t> tokens;
  kernels::top_k_cpu(logits.data(), static_cast<std::int64_t>(logits.size()),
                     static_cast<std::int64_t>(k), tokens);
  std::vector<TokenScore> found;
  found.reserve(tokens.size());
  for (const std::int32_t token : tokens) {
    found.push_back({token, logits[static_cast<std::size_t>(token)]});
  }
  return found;
}

void expect_equal(const Candidates& found, const Candidates& expected) {
  EXPECT_EQ(found.total(), expected.total());
  EXPECT_TRUE(
      std::ranges::equal(found.kept(), expected.kept(), [](const Candidate& a, const Candidate& b) {
        return a.token == b.token && a.weight == b.weight;
      }));
}

/// Where the k best are found on a device, what is drawn from is the same to the last bit.
TEST(Candidates, OfTheLargestAreThoseOfAllLogits) {
  test::for_random_cases(200, [](test::Random& random) {
    const std::int64_t count = random.integer(2, 300);
    const std::vector<float> logits = random_logits(random, count);
    const SamplingOptions options = test::random_cuts(random, 1, count - 1);
    const std::vector<TokenScore> largest = likeliest(logits, options.top_k);
    Candidates of_all;
    of_all.choose(logits, largest.front().logit, options);
    Candidates of_largest;
    of_largest.choose_of(largest, options);
    expect_equal(of_largest, of_all);
  });
}

/// By top_p or min_p: what the likeliest show is the same, and they say when they do not show it.
TEST(Candidates, OfTheLikeliestAreThoseOfAllLogits) {
  int shown = 0;
  int hidden = 0;
  test::for_random_cases(400, [&](test::Random& random) {
    const std::int64_t count = random.integer(2, 300);
    const std::vector<float> logits = random_logits(random, count);
    SamplingOptions options = test::random_cuts(random, 0, 0);
    options.typical_p = 1;
    if (!Candidates::cuts_by_likelihood(options)) {
      options.top_p = 0.75;
    }
    std::vector<TokenScore> largest = likeliest(logits, static_cast<std::size_t>(count));
    double total = 0;
    for (const TokenScore& one : largest) {
      total +=
          std::exp(static_cast<double>(one.logit - largest.front().logit) / options.temperature);
    }
    Candidates of_all;
    of_all.choose(logits, largest.front().logit, options);
    largest.resize(static_cast<std::size_t>(random.integer(1, count)));
    Candidates of_likeliest;
    const bool all = largest.size() == logits.size();
    // What is off by rounding changes nothing; where it might, nothing is said.
    if (of_likeliest.choose_of(largest, total * (1 + 1e-12), all, options)) {
      expect_equal(of_likeliest, of_all);
      ++shown;
    } else {
      ++hidden;
      EXPECT_FALSE(all && options.top_p == 1);
    }
  });
  EXPECT_GT(shown, hidden / 4);
  EXPECT_GT(hidden, shown / 20);
}

/// A mass that top_p times the sum falls on to within rounding may be reached or not.
TEST(Candidates, ACutThatRoundingDecidesIsNotTakenForCertain) {
  const std::vector<TokenScore> equal{{0, 1.0F}, {1, 1.0F}, {2, 1.0F}, {3, 1.0F}};
  Candidates candidates;
  const SamplingOptions half{.temperature = 1, .top_p = 0.5};
  EXPECT_FALSE(candidates.choose_of(equal, 4, true, half));
  EXPECT_TRUE(candidates.choose_of(equal, 4, true, {.temperature = 1, .top_p = 0.51}));
  EXPECT_EQ(candidates.kept().size(), 3);
  // There may be more of them, with smaller ids.
  EXPECT_FALSE(candidates.choose_of(equal, 8, false, {.temperature = 1, .top_p = 0.3}));
}

}  // namespace
}  // namespace kvcache::decoding
