// The matrix products against double precision, on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/cpu/linear_cpu.hpp"
#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"
#include "support/random_cases.hpp"

namespace kvcache::ops {
namespace {

using test::Random;

std::vector<float> normal_floats(Random& random, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return random.normal(); });
  return values;
}

double gelu(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

/// Sizes that meet every register tile, partial panels, several parts of a panel and several tasks.
struct Sizes {
  explicit Sizes(Random& random)
      : tokens(random.chance(0.1) ? random.integer(120, 300) : random.integer(1, 20)),
        inputs(random.chance(0.1) ? random.integer(760, 800) : random.integer(1, 90)),
        outputs(random.integer(1, 300)) {}

  std::int64_t tokens;
  std::int64_t inputs;
  std::int64_t outputs;
};

/// Expects out[token][output] = expected(token, output), within rounding: each of `inputs`
/// additions rounds a partial sum of about √inputs by 2⁻²⁴ of it, errors that add up like a random
/// walk to 2⁻²⁴ · inputs; five times that for the largest of thousands, and the rounding of single
/// terms.
template <typename Expected>
void expect_product(const std::vector<float>& out, const Sizes& sizes, const Expected& expected) {
  const double tolerance = 5 * std::ldexp(1.0, -24) * static_cast<double>(sizes.inputs) + 2e-6;
  for (std::int64_t token = 0; token < sizes.tokens; ++token) {
    for (std::int64_t output = 0; output < sizes.outputs; ++output) {
      const double found = out[static_cast<std::size_t>(token * sizes.outputs + output)];
      ASSERT_NEAR(found, expected(token, output), tolerance)
          << "token " << token << " of " << sizes.tokens << ", output " << output << " of "
          << sizes.outputs << ", " << sizes.inputs << " inputs";
    }
  }
}

class Products : public test::OnInstructionSet {};

TEST_P(Products, LinearAgreesWithDoublePrecision) {
  test::for_random_cases(60, [](Random& random) {
    const Sizes sizes(random);
    const bool activated = random.chance(0.5);
    const std::int64_t panels = (sizes.outputs + kPanelColumns - 1) / kPanelColumns;
    const std::vector<float> x = normal_floats(random, sizes.tokens * sizes.inputs);
    const std::vector<float> weight = normal_floats(random, panels * sizes.inputs * kPanelColumns);
    const std::vector<float> bias = normal_floats(random, sizes.outputs);
    std::vector<float> out(static_cast<std::size_t>(sizes.tokens * sizes.outputs),
                           std::numeric_limits<float>::quiet_NaN());
    linear_cpu({.x = x.data(),
                .weight = weight.data(),
                .bias = bias.data(),
                .out = out.data(),
                .tokens = sizes.tokens,
                .inputs = sizes.inputs,
                .outputs = sizes.outputs,
                .activation = activated ? Activation::gelu : Activation::none},
               test::ThreeThreads());
    expect_product(out, sizes, [&](std::int64_t token, std::int64_t output) {
      double sum = bias[static_cast<std::size_t>(output)];
      for (std::int64_t i = 0; i < sizes.inputs; ++i) {
        const std::int64_t at =
            (output / kPanelColumns * sizes.inputs + i) * kPanelColumns + output % kPanelColumns;
        sum += static_cast<double>(x[static_cast<std::size_t>(token * sizes.inputs + i)]) *
               static_cast<double>(weight[static_cast<std::size_t>(at)]);
      }
      return activated ? gelu(sum) : sum;
    });
  });
}

TEST_P(Products, HeadAgreesWithDoublePrecision) {
  test::for_random_cases(60, [](Random& random) {
    const Sizes sizes(random);
    const std::vector<float> x = normal_floats(random, sizes.tokens * sizes.inputs);
    const std::vector<float> weight = normal_floats(random, sizes.outputs * sizes.inputs);
    std::vector<float> out(static_cast<std::size_t>(sizes.tokens * sizes.outputs),
                           std::numeric_limits<float>::quiet_NaN());
    head_cpu({.x = x.data(),
              .weight = weight.data(),
              .out = out.data(),
              .tokens = sizes.tokens,
              .inputs = sizes.inputs,
              .outputs = sizes.outputs},
             test::ThreeThreads());
    expect_product(out, sizes, [&](std::int64_t token, std::int64_t output) {
      double sum = 0;
      for (std::int64_t i = 0; i < sizes.inputs; ++i) {
        sum += static_cast<double>(x[static_cast<std::size_t>(token * sizes.inputs + i)]) *
               static_cast<double>(weight[static_cast<std::size_t>(output * sizes.inputs + i)]);
      }
      return sum;
    });
  });
}

TEST_P(Products, GeluStaysFiniteFarOut) {
  const std::vector<float> x{-1e4F, -100.0F, -12.0F, -3.0F, 0.0F, 3.0F, 12.0F, 100.0F, 1e4F};
  std::vector<float> weight(kPanelColumns, 0.0F);
  weight[0] = 1.0F;
  const float bias = 0.0F;
  std::vector<float> out(x.size());
  linear_cpu({.x = x.data(),
              .weight = weight.data(),
              .bias = &bias,
              .out = out.data(),
              .tokens = static_cast<std::int64_t>(x.size()),
              .inputs = 1,
              .outputs = 1,
              .activation = Activation::gelu},
             test::Serial());
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(out[i], gelu(static_cast<double>(x[i])), 1e-6) << "x = " << x[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Products, test::all_instruction_sets(),
                         test::instruction_set_name);

}  // namespace
}  // namespace kvcache::ops
