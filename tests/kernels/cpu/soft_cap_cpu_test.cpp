// Soft caps against double precision, on every instruction set.
#include "kernels/cpu/soft_cap_cpu.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

class SoftCap : public test::OnInstructionSet {};

TEST_P(SoftCap, AgreesWithDoublePrecision) {
  test::for_random_cases(20, [](test::Random& random) {
    const std::int64_t count = random.chance(0.2) ? 9000 : random.integer(0, 70);
    const float cap = random.chance(0.5) ? 30.0F : 0.5F;
    std::vector<float> x(static_cast<std::size_t>(count) + 1, 7.0F);
    for (std::int64_t i = 0; i < count; ++i) {
      x[static_cast<std::size_t>(i)] = 50 * random.normal();
    }
    const std::vector<float> before = x;
    soft_cap_cpu(x.data(), count, cap, test::ThreeThreads());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double expected = cap * std::tanh(static_cast<double>(before[at]) / cap);
      // A tanh of few last places, of a quotient that is one off at most.
      ASSERT_NEAR(x[at], expected, 1e-6 * std::abs(expected) + 1e-7 * cap) << before[at];
    }
    EXPECT_EQ(x.back(), 7.0F) << "behind the end";
  });
}

INSTANTIATE_TEST_SUITE_P(Targets, SoftCap, test::all_instruction_sets(),
                         test::instruction_set_name);

}  // namespace
}  // namespace kvcache::kernels
