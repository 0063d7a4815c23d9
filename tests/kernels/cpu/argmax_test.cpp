#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/argmax_cpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

TEST(Argmax, FindsTheFirstLargestOfAnyCount) {
  test::for_random_cases(200, [](test::Random& random) {
    std::vector<float> values(static_cast<std::size_t>(random.integer(1, 300)));
    // Few distinct values, so that ties are common.
    std::generate(values.begin(), values.end(),
                  [&] { return static_cast<float>(random.integer(-4, 4)); });
    const auto expected = std::max_element(values.begin(), values.end()) - values.begin();
    EXPECT_EQ(argmax_cpu(values.data(), static_cast<std::int64_t>(values.size())), expected);
  });
}

TEST(Argmax, CountsNaNAsTheLargestWhereverItIs) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t count = 1; count < 70; ++count) {
    std::vector<float> values(static_cast<std::size_t>(count), 1.0F);
    EXPECT_FALSE(has_nan_cpu(values.data(), count));
    for (std::int64_t at = count; at-- > 0;) {
      values[static_cast<std::size_t>(at)] = kNan;
      EXPECT_TRUE(has_nan_cpu(values.data(), count));
      EXPECT_EQ(argmax_cpu(values.data(), count), at);
    }
  }
}

/// Sorting by it is defined behaviour, whatever the logits are.
TEST(Argmax, HasATotalOrder) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> in_order{kNan, kNan, kInfinity, 2, 2, 0.0F, -0.0F, -1, -kInfinity};
  const auto before = [&](std::size_t a, std::size_t b) {
    return comes_before(in_order[a], static_cast<std::int64_t>(a), in_order[b],
                        static_cast<std::int64_t>(b));
  };
  for (std::size_t a = 0; a < in_order.size(); ++a) {
    for (std::size_t b = 0; b < in_order.size(); ++b) {
      EXPECT_EQ(before(a, b), a < b) << a << " and " << b;
    }
  }
}

TEST(Argmax, HandlesAllNegativeValues) {
  const std::vector<float> values{-5.0F, -2.0F, -3.0F};
  EXPECT_EQ(argmax_cpu(values.data(), 3), 1);
}

}  // namespace
}  // namespace kvcache::kernels
