// Norms against double precision, on every instruction set.
#include "kernels/cpu/norm_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

class Norm : public test::OnInstructionSet {};

TEST_P(Norm, OfALayerAgreesWithDoublePrecision) {
  test::for_random_cases(60, [](test::Random& random) {
    const std::int64_t tokens = random.integer(1, 30);
    const std::int64_t size = random.chance(0.1) ? random.integer(760, 800) : random.integer(1, 90);
    const auto floats = [&](std::int64_t count, float scale, float shift) {
      std::vector<float> values(static_cast<std::size_t>(count));
      std::ranges::generate(values, [&] { return scale * random.normal() + shift; });
      return values;
    };
    // A mean that is large beside the deviation: squares less the mean's would lose all of it.
    const float shift = random.chance(0.5) ? 100.0F : 0.0F;
    const std::vector<float> x = floats(tokens * size, 1, shift);
    const std::vector<float> weight = floats(size, 1, 0);
    const std::vector<float> bias = floats(size, 1, 0);
    std::vector<float> out(x.size(), std::numeric_limits<float>::quiet_NaN());
    const float epsilon = 1e-5F;
    const bool biased = random.chance(0.7);
    norm_cpu({.x = x.data(),
              .weight = weight.data(),
              .bias = biased ? bias.data() : nullptr,
              .out = out.data(),
              .tokens = tokens,
              .size = size,
              .epsilon = epsilon},
             test::ThreeThreads());
    for (std::int64_t token = 0; token < tokens; ++token) {
      const float* row = x.data() + token * size;
      double mean = 0;
      for (std::int64_t i = 0; i < size; ++i) {
        mean += row[i] / static_cast<double>(size);
      }
      double variance = 0;
      for (std::int64_t i = 0; i < size; ++i) {
        variance += (row[i] - mean) * (row[i] - mean) / static_cast<double>(size);
      }
      const double deviation = std::sqrt(variance + static_cast<double>(epsilon));
      // Partial sums of k elements are rounded by 2⁻²⁴ of k times their magnitude, errors that add
      // up like a random walk to √size / 3 · 2⁻²⁴ of it in the mean; six times that, and the
      // rounding of the difference from it.
      const double steps = 2 * std::sqrt(static_cast<double>(size)) + 4;
      const double rounding = steps * std::ldexp(1.0 + static_cast<double>(shift), -24) / deviation;
      for (std::int64_t i = 0; i < size; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double normed = (row[i] - mean) / deviation;
        ASSERT_NEAR(out[static_cast<std::size_t>(token * size + i)],
                    normed * static_cast<double>(weight[at]) +
                        (biased ? static_cast<double>(bias[at]) : 0.0),
                    (rounding + 1e-6 * (1 + std::abs(normed))) *
                            (1 + std::abs(static_cast<double>(weight[at]))) +
                        1e-6)
            << "token " << token << ", element " << i << " of " << size;
      }
    }
  });
}

TEST_P(Norm, OfRootMeanSquaresAgreesWithDoublePrecision) {
  test::for_random_cases(60, [](test::Random& random) {
    const std::int64_t tokens = random.integer(1, 30);
    const std::int64_t size = random.chance(0.1) ? random.integer(760, 800) : random.integer(1, 90);
    const auto floats = [&](std::int64_t count) {
      std::vector<float> values(static_cast<std::size_t>(count));
      std::ranges::generate(values, [&] { return random.normal() + 1; });
      return values;
    };
    const std::vector<float> x = floats(tokens * size);
    const std::vector<float> weight = floats(size);
    std::vector<float> out(x.size(), std::numeric_limits<float>::quiet_NaN());
    const float epsilon = random.chance(0.5) ? 1e-5F : 1.0F;
    norm_cpu({.kind = NormKind::rms,
              .x = x.data(),
              .weight = weight.data(),
              .out = out.data(),
              .tokens = tokens,
              .size = size,
              .epsilon = epsilon},
             test::ThreeThreads());
    for (std::int64_t token = 0; token < tokens; ++token) {
      const float* row = x.data() + token * size;
      double squares = 0;
      for (std::int64_t i = 0; i < size; ++i) {
        squares += static_cast<double>(row[i]) * static_cast<double>(row[i]);
      }
      const double divisor =
          std::sqrt(squares / static_cast<double>(size) + static_cast<double>(epsilon));
      // The sum is rounded once an element of its lane; its root is half as far away.
      const double steps = static_cast<double>(size) / 8 + 6;
      for (std::int64_t i = 0; i < size; ++i) {
        const double expected = static_cast<double>(row[i]) / divisor *
                                static_cast<double>(weight[static_cast<std::size_t>(i)]);
        ASSERT_NEAR(out[static_cast<std::size_t>(token * size + i)], expected,
                    std::ldexp(steps, -24) * std::abs(expected) + 1e-30)
            << "token " << token << ", element " << i << " of " << size;
      }
    }
  });
}

/// As the norm of a product's result, before a residual is added, is computed.
TEST_P(Norm, OfRootMeanSquaresMayStayWhereItIsAndAddsTheResidualLast) {
  test::for_random_cases(20, [](test::Random& random) {
    const std::int64_t tokens = random.integer(1, 20);
    const std::int64_t size = random.integer(1, 90);
    const auto floats = [&](std::int64_t count) {
      std::vector<float> values(static_cast<std::size_t>(count));
      std::ranges::generate(values, [&] { return random.normal(); });
      return values;
    };
    const std::vector<float> x = floats(tokens * size);
    const std::vector<float> weight = floats(size);
    const std::vector<float> residual = floats(tokens * size);
    std::vector<float> normed(x.size());
    TokenNormArgs args{.kind = NormKind::rms,
                       .x = x.data(),
                       .weight = weight.data(),
                       .out = normed.data(),
                       .tokens = tokens,
                       .size = size,
                       .epsilon = 1e-5F};
    norm_cpu(args, test::ThreeThreads());
    std::vector<float> in_place = x;
    args.x = in_place.data();
    args.out = in_place.data();
    args.residual = residual.data();
    norm_cpu(args, test::ThreeThreads());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(in_place[i], residual[i] + normed[i]) << "element " << i;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Targets, Norm, test::all_instruction_sets(), test::instruction_set_name);

}  // namespace
}  // namespace kvcache::kernels
