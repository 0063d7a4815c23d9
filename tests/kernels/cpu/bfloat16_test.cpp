// Products of bfloat16 against double precision with the same rounded inputs, on every instruction
// set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/float16.hpp"
#include "kernels/cpu/bfloat16_cpu.hpp"
#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"
#include "support/product_cases.hpp"

namespace kvcache::kernels {
namespace {

std::vector<float> rounded_to_bfloat16(const std::vector<float>& x) {
  std::vector<float> result(x.size());
  std::ranges::transform(x, result.begin(),
                         [](float element) { return static_cast<float>(BFloat16(element)); });
  return result;
}

class BFloat16Products : public test::OnInstructionSet {
 protected:
  /// The first output of each token: x [tokens, inputs] times a weight whose column 0 holds this
  /// and whose others hold NaN, as a linear node and as a head of two outputs.
  static void expect_products(const std::vector<float>& x, const std::vector<float>& column,
                              const std::vector<float>& expected) {
    const auto inputs = static_cast<std::int64_t>(column.size());
    const auto tokens = static_cast<std::int64_t>(expected.size());
    const BFloat16 nan(std::numeric_limits<float>::quiet_NaN());
    std::vector<BFloat16> panel(column.size() * kPanelColumns, nan);
    std::vector<BFloat16> rows(2 * column.size(), nan);
    for (std::size_t i = 0; i < column.size(); ++i) {
      panel[i * kPanelColumns] = rows[i] = BFloat16(column[i]);
    }
    const float bias[] = {0, 0};
    std::vector<float> linear(2 * expected.size());
    bfloat16_linear_cpu({.x = x.data(),
                         .weight = panel.data(),
                         .bias = bias,
                         .out = linear.data(),
                         .tokens = tokens,
                         .inputs = inputs,
                         .outputs = 2},
                        test::Serial());
    std::vector<float> head(2 * expected.size());
    bfloat16_head_cpu({.x = x.data(),
                       .weight = rows.data(),
                       .out = head.data(),
                       .tokens = tokens,
                       .inputs = inputs,
                       .outputs = 2},
                      test::Serial());
    for (std::size_t token = 0; token < expected.size(); ++token) {
      for (const std::vector<float>* out : {&linear, &head}) {
        const float found = (*out)[2 * token];
        EXPECT_TRUE(found == expected[token] || (std::isnan(found) && std::isnan(expected[token])))
            << found << " instead of " << expected[token] << ", token " << token << " of " << tokens
            << " of the " << (out == &linear ? "linear node" : "head");
        EXPECT_TRUE(std::isnan((*out)[2 * token + 1]));
      }
    }
  }
};

TEST_P(BFloat16Products, LinearAgreesWithDoublePrecision) {
  for (const bool invariant : {false, true}) {
    test::expect_linear_of_random_cases<BFloat16>(
        [=](const LinearArgs<BFloat16>& args, const ParallelFor& parallel) {
          bfloat16_linear_cpu(args, parallel, invariant);
        },
        rounded_to_bfloat16);
  }
}

TEST_P(BFloat16Products, GateAgreesWithDoublePrecision) {
  for (const bool invariant : {false, true}) {
    test::expect_gate_of_random_cases<BFloat16>(
        [=](const LinearArgs<BFloat16>& args, const ParallelFor& parallel) {
          bfloat16_linear_cpu(args, parallel, invariant);
        },
        rounded_to_bfloat16);
  }
}

TEST_P(BFloat16Products, HeadAgreesWithDoublePrecision) {
  for (const bool invariant : {false, true}) {
    test::expect_head_of_random_cases<BFloat16>(
        [=](const HeadArgs<BFloat16>& args, const ParallelFor& parallel) {
          bfloat16_head_cpu(args, parallel, invariant);
        },
        rounded_to_bfloat16);
  }
}

TEST_P(BFloat16Products, RoundsActivationsToNearestEven) {
  const float step = std::ldexp(1.0F, -7);  // of bfloat16, at 1
  const float next_to_half = std::nextafter(1 + step / 2, 2.0F);
  const std::vector<float> x{1 + step / 2,  1 + 3 * step / 2, next_to_half,  -(1 + step / 2),
                             -next_to_half, 3.4e38F,          std::nanf(""), -3.4e38F};
  const std::vector<float> expected{1,
                                    1 + 2 * step,
                                    1 + step,
                                    -1,
                                    -(1 + step),
                                    std::numeric_limits<float>::infinity(),
                                    std::nanf(""),
                                    -std::numeric_limits<float>::infinity()};
  expect_products(x, {1}, expected);            // a tile of them
  expect_products({x[0]}, {1}, {expected[0]});  // a single one
  expect_products({x[4]}, {1}, {expected[4]});
}

// What lies beside the last of an odd number of inputs belongs to another row.
TEST_P(BFloat16Products, RowsDoNotMeetTheirNeighbours) {
  const float nan = std::nanf("");
  std::vector<float> x;
  std::vector<float> expected;
  for (int token = 0; token < 20; ++token) {
    const bool is_odd = token % 2 != 0;
    const float value = is_odd ? nan : 1;
    x.insert(x.end(), {value, value, value});
    expected.push_back(is_odd ? nan : 7);
  }
  expect_products(x, {1, 2, 4}, expected);
}

// The instruction takes numbers below 2⁻¹²⁶ for 0, in float32 they count: nothing to a logit.
TEST_P(BFloat16Products, TheSmallestNumbersAreAtMostLost) {
  const float smallest = std::numeric_limits<float>::denorm_min() * 0x1p16F;
  const std::vector<float> x(8, smallest);
  const BFloat16 weight(1.0F);
  std::vector<float> out(x.size(), 1.0F);
  bfloat16_head_cpu({.x = x.data(),
                     .weight = &weight,
                     .out = out.data(),
                     .tokens = static_cast<std::int64_t>(x.size()),
                     .inputs = 1,
                     .outputs = 1},
                    test::Serial());
  for (const float found : out) {
    EXPECT_TRUE(found == 0 || found == smallest) << found;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, BFloat16Products,
                         test::with_and_without_amx(hwy::SupportedAndGeneratedTargets()),
                         test::instruction_set_name);

}  // namespace
}  // namespace kvcache::kernels
