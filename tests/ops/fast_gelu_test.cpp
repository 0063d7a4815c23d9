#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ops/cpu/fast_gelu_cpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::ops {
namespace {

double reference(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

TEST(FastGelu, AgreesWithDoublePrecision) {
  test::for_random_cases(100, [](test::Random& random) {
    const auto count = static_cast<std::size_t>(random.integer(1, 100));
    std::vector<float> in(count);
    std::vector<float> bias(count);
    for (std::size_t i = 0; i < count; ++i) {
      in[i] = 4 * random.normal();
      bias[i] = random.normal();
    }
    std::vector<float> out(count + 1, 123.0F);
    fast_gelu_cpu(in.data(), bias.data(), static_cast<std::int64_t>(count), out.data());
    for (std::size_t i = 0; i < count; ++i) {
      const double x = static_cast<double>(in[i] + bias[i]);
      EXPECT_NEAR(out[i], reference(x), 1e-6 * (1.0 + std::abs(x))) << "x = " << x;
    }
    EXPECT_EQ(out[count], 123.0F) << "written beyond the end";
  });
}

TEST(FastGelu, StaysFiniteFarOut) {
  const std::vector<float> in{-1e4F, -100.0F, -12.0F, 0.0F, 12.0F, 100.0F, 1e4F};
  const std::vector<float> bias(in.size(), 0.0F);
  std::vector<float> out(in.size());
  fast_gelu_cpu(in.data(), bias.data(), static_cast<std::int64_t>(in.size()), out.data());
  for (std::size_t i = 0; i < in.size(); ++i) {
    EXPECT_NEAR(out[i], reference(static_cast<double>(in[i])), 1e-6) << "x = " << in[i];
  }
}

}  // namespace
}  // namespace kvcache::ops
