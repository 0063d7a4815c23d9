// The matrix products against double precision, on every instruction set.
#include <gtest/gtest.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <iterator>
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
/// terms. Where a sum comes out larger, so did its partial sums: once more, with its own size.
template <typename Expected>
void expect_product(const std::vector<float>& out, const Sizes& sizes, const Expected& expected) {
  const auto inputs = static_cast<double>(sizes.inputs);
  for (std::int64_t token = 0; token < sizes.tokens; ++token) {
    for (std::int64_t output = 0; output < sizes.outputs; ++output) {
      const double found = out[static_cast<std::size_t>(token * sizes.outputs + output)];
      const double sum = expected(token, output);
      const double tolerance =
          std::ldexp(5 * inputs + std::sqrt(inputs) * std::abs(sum), -24) + 2e-6;
      ASSERT_NEAR(found, sum, tolerance)
          << "token " << token << " of " << sizes.tokens << ", output " << output << " of "
          << sizes.outputs << ", " << sizes.inputs << " inputs";
    }
  }
}

/// `values` in the weights' type, as near as it has them.
template <typename W>
std::vector<W> rounded(const std::vector<float>& values) {
  std::vector<W> result;
  std::ranges::transform(values, std::back_inserter(result), [](float value) { return W(value); });
  return result;
}

double wide(float value) { return value; }
template <typename W>
double wide(W value) {
  return value.ToFloat();
}

class Products : public test::OnInstructionSet {};

template <typename W>
void expect_linear_of_random_cases() {
  test::for_random_cases(60, [](Random& random) {
    const Sizes sizes(random);
    const bool activated = random.chance(0.5);
    const std::int64_t panels = (sizes.outputs + kPanelColumns - 1) / kPanelColumns;
    const std::vector<float> x = normal_floats(random, sizes.tokens * sizes.inputs);
    const auto weight = rounded<W>(normal_floats(random, panels * sizes.inputs * kPanelColumns));
    const std::vector<float> bias = normal_floats(random, sizes.outputs);
    const std::vector<float> residual = normal_floats(random, sizes.tokens * sizes.outputs);
    const bool added = random.chance(0.5);
    std::vector<float> out(static_cast<std::size_t>(sizes.tokens * sizes.outputs),
                           std::numeric_limits<float>::quiet_NaN());
    const LinearArgs<W> args{.x = x.data(),
                             .weight = weight.data(),
                             .bias = bias.data(),
                             .out = out.data(),
                             .residual = added ? residual.data() : nullptr,
                             .tokens = sizes.tokens,
                             .inputs = sizes.inputs,
                             .outputs = sizes.outputs,
                             .activation = activated ? Activation::gelu : Activation::none};
    linear_cpu(args, test::ThreeThreads());
    expect_product(out, sizes, [&](std::int64_t token, std::int64_t output) {
      double sum = bias[static_cast<std::size_t>(output)];
      for (std::int64_t i = 0; i < sizes.inputs; ++i) {
        const std::int64_t at =
            (output / kPanelColumns * sizes.inputs + i) * kPanelColumns + output % kPanelColumns;
        sum += static_cast<double>(x[static_cast<std::size_t>(token * sizes.inputs + i)]) *
               wide(weight[static_cast<std::size_t>(at)]);
      }
      const auto at = static_cast<std::size_t>(token * sizes.outputs + output);
      return (activated ? gelu(sum) : sum) + (added ? static_cast<double>(residual[at]) : 0.0);
    });
  });
}

TEST_P(Products, LinearAgreesWithDoublePrecision) { expect_linear_of_random_cases<float>(); }
TEST_P(Products, LinearOfFloat16WeightsAgrees) { expect_linear_of_random_cases<Ort::Float16_t>(); }
TEST_P(Products, LinearOfBFloat16WeightsAgrees) {
  expect_linear_of_random_cases<Ort::BFloat16_t>();
}

template <typename W>
void expect_head_of_random_cases() {
  test::for_random_cases(60, [](Random& random) {
    const Sizes sizes(random);
    const std::vector<float> x = normal_floats(random, sizes.tokens * sizes.inputs);
    const auto weight = rounded<W>(normal_floats(random, sizes.outputs * sizes.inputs));
    std::vector<float> out(static_cast<std::size_t>(sizes.tokens * sizes.outputs),
                           std::numeric_limits<float>::quiet_NaN());
    const HeadArgs<W> args{.x = x.data(),
                           .weight = weight.data(),
                           .out = out.data(),
                           .tokens = sizes.tokens,
                           .inputs = sizes.inputs,
                           .outputs = sizes.outputs};
    head_cpu(args, test::ThreeThreads());
    expect_product(out, sizes, [&](std::int64_t token, std::int64_t output) {
      double sum = 0;
      for (std::int64_t i = 0; i < sizes.inputs; ++i) {
        sum += static_cast<double>(x[static_cast<std::size_t>(token * sizes.inputs + i)]) *
               wide(weight[static_cast<std::size_t>(output * sizes.inputs + i)]);
      }
      return sum;
    });
  });
}

TEST_P(Products, HeadAgreesWithDoublePrecision) { expect_head_of_random_cases<float>(); }
TEST_P(Products, HeadOfFloat16WeightsAgrees) { expect_head_of_random_cases<Ort::Float16_t>(); }
TEST_P(Products, HeadOfBFloat16WeightsAgrees) { expect_head_of_random_cases<Ort::BFloat16_t>(); }

TEST_P(Products, GeluStaysFiniteFarOut) {
  const std::vector<float> x{-1e4F, -100.0F, -12.0F, -3.0F, 0.0F, 3.0F, 12.0F, 100.0F, 1e4F};
  std::vector<float> weight(kPanelColumns, 0.0F);
  weight[0] = 1.0F;
  const float bias = 0.0F;
  std::vector<float> out(x.size());
  const LinearArgs<float> args{.x = x.data(),
                               .weight = weight.data(),
                               .bias = &bias,
                               .out = out.data(),
                               .tokens = static_cast<std::int64_t>(x.size()),
                               .inputs = 1,
                               .outputs = 1,
                               .activation = Activation::gelu};
  linear_cpu(args, test::Serial());
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(out[i], gelu(static_cast<double>(x[i])), 1e-6) << "x = " << x[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Products, test::all_instruction_sets(),
                         test::instruction_set_name);

}  // namespace
}  // namespace kvcache::ops
