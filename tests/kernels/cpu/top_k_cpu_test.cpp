#include "kernels/cpu/top_k_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/argmax_cpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// By sorting all.
std::vector<std::int32_t> reference(const std::vector<float>& logits, std::size_t k) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](std::int32_t a, std::int32_t b) {
    return comes_before(logits[a], a, logits[b], b);
  });
  std::size_t end = k;
  const auto equal = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  while (end < order.size() && equal(logits[order[end]], logits[order[k - 1]])) {
    ++end;
  }
  order.resize(end);
  return order;
}

TEST(TopK, EqualsSortingAll) {
  std::vector<std::int32_t> chosen;  // of all cases, as scratch is used
  test::for_random_cases(300, [&](test::Random& random) {
    std::vector<float> logits(static_cast<std::size_t>(random.integer(1, 2000)));
    const bool with_equal_ones = random.chance(0.5);
    std::ranges::generate(logits, [&] {
      return with_equal_ones ? static_cast<float>(random.integer(-5, 5)) : random.normal();
    });
    for (const float odd : {kInfinity, -kInfinity, kNan}) {
      while (random.chance(0.3)) {
        logits[static_cast<std::size_t>(random.integer(0, std::ssize(logits) - 1))] = odd;
      }
    }
    if (random.chance(0.2)) {
      std::ranges::sort(logits);  // each is offered, and nothing can be refused before
    }
    const std::int64_t k = random.integer(1, random.chance(0.5) ? std::ssize(logits) : 1);
    top_k_cpu(logits.data(), std::ssize(logits), k, chosen);
    EXPECT_EQ(chosen, reference(logits, static_cast<std::size_t>(k)));
  });
}

TEST(TopK, TakesScratchOfTheOrderOfWhatItReturns) {
  std::vector<float> logits(100'000);
  std::iota(logits.begin(), logits.end(), 0.0F);
  std::vector<std::int32_t> chosen;
  top_k_cpu(logits.data(), std::ssize(logits), 40, chosen);
  EXPECT_EQ(chosen.size(), 40U);
  EXPECT_LE(chosen.capacity(), 512U);
}

}  // namespace
}  // namespace kvcache::kernels
