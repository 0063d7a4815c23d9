// The matrix products against double precision, on every instruction set.
#include <gtest/gtest.h>

#include <vector>

#include "base/float16.hpp"
#include "kernels/cpu/linear_cpu.hpp"
#include "support/instruction_sets.hpp"
#include "support/parallel_for.hpp"
#include "support/product_cases.hpp"

namespace kvcache::kernels {
namespace {

class Products : public test::OnInstructionSet {};

/// What kernels of float32 arithmetic multiply with.
std::vector<float> as_is(const std::vector<float>& x) { return x; }

template <typename W>
void expect_linear_of_random_cases() {
  test::expect_linear_of_random_cases<W>(linear_cpu<W>, as_is);
}
template <typename W>
void expect_gate_of_random_cases() {
  test::expect_gate_of_random_cases<W>(linear_cpu<W>, as_is);
}
template <typename W>
void expect_head_of_random_cases() {
  test::expect_head_of_random_cases<W>(head_cpu<W>, as_is);
}

TEST_P(Products, LinearAgreesWithDoublePrecision) { expect_linear_of_random_cases<float>(); }
TEST_P(Products, LinearOfFloat16WeightsAgrees) { expect_linear_of_random_cases<Float16>(); }
TEST_P(Products, LinearOfBFloat16WeightsAgrees) { expect_linear_of_random_cases<BFloat16>(); }

TEST_P(Products, GateAgreesWithDoublePrecision) { expect_gate_of_random_cases<float>(); }
TEST_P(Products, GateOfFloat16WeightsAgrees) { expect_gate_of_random_cases<Float16>(); }
TEST_P(Products, GateOfBFloat16WeightsAgrees) { expect_gate_of_random_cases<BFloat16>(); }

TEST_P(Products, HeadAgreesWithDoublePrecision) { expect_head_of_random_cases<float>(); }
TEST_P(Products, HeadOfFloat16WeightsAgrees) { expect_head_of_random_cases<Float16>(); }
TEST_P(Products, HeadOfBFloat16WeightsAgrees) { expect_head_of_random_cases<BFloat16>(); }

TEST_P(Products, ActivationsStayFiniteFarOut) {
  const std::vector<float> x{-1e4F, -100.0F, -13.2F, -12.0F, -6.5F,  -3.0F,
                             0.0F,  3.0F,    6.5F,   12.0F,  100.0F, 1e4F};
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
                               .outputs = 1};
  for (const Activation activation : test::kActivations) {
    LinearArgs<float> activated = args;
    activated.activation = activation;
    linear_cpu(activated, test::Serial());
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(out[i], test::activated(activation, static_cast<double>(x[i])), 1e-6)
          << "x = " << x[i] << ", activation " << static_cast<int>(activation);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Products, test::all_instruction_sets(),
                         test::instruction_set_name);

}  // namespace
}  // namespace kvcache::kernels
