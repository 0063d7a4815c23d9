// Random products with weights, and what double precision says of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <vector>

#include "kernels/cpu/linear_cpu.hpp"
#include "support/parallel_for.hpp"
#include "support/product_activations.hpp"
#include "support/random_cases.hpp"

namespace kvcache::test {

using kernels::HeadArgs;
using kernels::kPanelColumns;
using kernels::LinearArgs;

inline std::vector<float> normal_floats(Random& random, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return random.normal(); });
  return values;
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

inline double wide(float value) { return value; }
template <typename W>
double wide(W value) {
  return static_cast<float>(value);
}

/// A kernel against double precision; `multiplied` is x as the kernel must multiply it.
template <typename W, typename Kernel>
void expect_linear_of_random_cases(const Kernel& kernel,
                                   std::vector<float> (*multiplied)(const std::vector<float>&)) {
  for_random_cases(60, [&](Random& random) {
    const Sizes sizes(random);
    const Activation activation = random.pick(std::span(kActivations));
    const bool biased = random.chance(0.7);
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
                             .bias = biased ? bias.data() : nullptr,
                             .out = out.data(),
                             .residual = added ? residual.data() : nullptr,
                             .tokens = sizes.tokens,
                             .inputs = sizes.inputs,
                             .outputs = sizes.outputs,
                             .activation = activation};
    kernel(args, ThreeThreads());
    const std::vector<float> used = multiplied(x);
    expect_product(out, sizes, [&](std::int64_t token, std::int64_t output) {
      double sum = biased ? bias[static_cast<std::size_t>(output)] : 0.0F;
      for (std::int64_t i = 0; i < sizes.inputs; ++i) {
        const std::int64_t at =
            (output / kPanelColumns * sizes.inputs + i) * kPanelColumns + output % kPanelColumns;
        sum += static_cast<double>(used[static_cast<std::size_t>(token * sizes.inputs + i)]) *
               wide(weight[static_cast<std::size_t>(at)]);
      }
      const auto at = static_cast<std::size_t>(token * sizes.outputs + output);
      return activated(activation, sum) + (added ? static_cast<double>(residual[at]) : 0.0);
    });
  });
}

/// A gated product against double precision. Each factor is as exact as a product of its own, and
/// no activation function is steeper than 1.13.
template <typename W, typename Kernel>
void expect_gate_of_random_cases(const Kernel& kernel,
                                 std::vector<float> (*multiplied)(const std::vector<float>&)) {
  for_random_cases(40, [&](Random& random) {
    const Sizes sizes(random);
    const Activation activation = random.pick(std::span(kActivations));
    const std::int64_t panels = 2 * ((sizes.outputs + kPanelColumns - 1) / kPanelColumns);
    const std::vector<float> x = normal_floats(random, sizes.tokens * sizes.inputs);
    const auto weight = rounded<W>(normal_floats(random, panels * sizes.inputs * kPanelColumns));
    const std::vector<float> bias = normal_floats(random, 2 * sizes.outputs);
    const bool biased = random.chance(0.5);
    std::vector<float> out(static_cast<std::size_t>(sizes.tokens * sizes.outputs),
                           std::numeric_limits<float>::quiet_NaN());
    const LinearArgs<W> args{.x = x.data(),
                             .weight = weight.data(),
                             .bias = biased ? bias.data() : nullptr,
                             .out = out.data(),
                             .tokens = sizes.tokens,
                             .inputs = sizes.inputs,
                             .outputs = sizes.outputs,
                             .activation = activation,
                             .gated = true};
    kernel(args, ThreeThreads());
    const std::vector<float> used = multiplied(x);
    const auto factor = [&](std::int64_t token, std::int64_t output, std::int64_t matrix) {
      double sum = biased ? bias[static_cast<std::size_t>(matrix * sizes.outputs + output)] : 0.0F;
      for (std::int64_t i = 0; i < sizes.inputs; ++i) {
        const std::int64_t panel = 2 * (output / kPanelColumns) + matrix;
        const std::int64_t at = (panel * sizes.inputs + i) * kPanelColumns + output % kPanelColumns;
        sum += static_cast<double>(used[static_cast<std::size_t>(token * sizes.inputs + i)]) *
               wide(weight[static_cast<std::size_t>(at)]);
      }
      return sum;
    };
    const auto tolerance = [&](double sum) {
      const auto inputs = static_cast<double>(sizes.inputs);
      return std::ldexp(5 * inputs + std::sqrt(inputs) * std::abs(sum), -24) + 2e-6;
    };
    for (std::int64_t token = 0; token < sizes.tokens; ++token) {
      for (std::int64_t output = 0; output < sizes.outputs; ++output) {
        const double gate = factor(token, output, 0);
        const double up = factor(token, output, 1);
        const double open = activated(activation, gate);
        ASSERT_NEAR(out[static_cast<std::size_t>(token * sizes.outputs + output)], open * up,
                    1.13 * tolerance(gate) * std::abs(up) +
                        (std::abs(open) + tolerance(gate)) * tolerance(up))
            << "token " << token << " of " << sizes.tokens << ", output " << output << " of "
            << sizes.outputs << ", " << sizes.inputs << " inputs";
      }
    }
  });
}

/// The same for a kernel of a head.
template <typename W, typename Kernel>
void expect_head_of_random_cases(const Kernel& kernel,
                                 std::vector<float> (*multiplied)(const std::vector<float>&)) {
  for_random_cases(60, [&](Random& random) {
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
    kernel(args, ThreeThreads());
    const std::vector<float> used = multiplied(x);
    expect_product(out, sizes, [&](std::int64_t token, std::int64_t output) {
      double sum = 0;
      for (std::int64_t i = 0; i < sizes.inputs; ++i) {
        sum += static_cast<double>(used[static_cast<std::size_t>(token * sizes.inputs + i)]) *
               wide(weight[static_cast<std::size_t>(output * sizes.inputs + i)]);
      }
      return sum;
    });
  });
}

}  // namespace kvcache::test
