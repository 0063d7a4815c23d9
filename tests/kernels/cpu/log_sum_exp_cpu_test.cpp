#include "kernels/cpu/log_sum_exp_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

float log_sum_exp(const std::vector<float>& values) {
  return log_sum_exp_cpu(values.data(), static_cast<std::int64_t>(values.size()));
}

TEST(LogSumExp, EqualsTheSumInDoublePrecision) {
  test::for_random_cases(200, [](test::Random& random) {
    std::vector<float> values(static_cast<std::size_t>(random.integer(1, 3000)));
    const auto size = static_cast<float>(random.integer(1, 40));
    std::ranges::generate(values, [&] { return size * random.normal(); });
    double sum = 0;
    for (const float value : values) {
      sum += std::exp(static_cast<double>(value));
    }
    EXPECT_NEAR(log_sum_exp(values), std::log(sum), 1e-6 * (10 + std::abs(std::log(sum))));
  });
}

TEST(LogSumExp, DoesNotOverflow) {
  EXPECT_FLOAT_EQ(log_sum_exp({1e30F, 0}), 1e30F);
  EXPECT_FLOAT_EQ(log_sum_exp({-1000, -1000}), -1000 + std::log(2.0F));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(log_sum_exp({-kInfinity, 3}), 3);
  EXPECT_EQ(log_sum_exp({-kInfinity, -kInfinity}), -kInfinity);
  EXPECT_EQ(log_sum_exp({kInfinity, 3}), kInfinity);
}

}  // namespace
}  // namespace kvcache::kernels
