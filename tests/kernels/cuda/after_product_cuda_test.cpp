// Gates, norms behind products and soft caps on CUDA against double precision.
#include "kernels/cuda/after_product_cuda.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/element_types.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::DeviceArray;
using test::kError;
using test::Random;
using test::random_values;
using test::wide;

template <typename T>
class AfterProductOnCuda : public test::OnGpu {};
using Types = testing::Types<float, __half, __nv_bfloat16>;
TYPED_TEST_SUITE(AfterProductOnCuda, Types);

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::none:
      break;
  }
  return x;
}

/// Expects `found` within a rounding of `expected`.
template <typename T>
void expect_rounded(const std::vector<T>& found, const std::vector<double>& expected,
                    double most = 1) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_LE(std::abs(wide(found[i]) - expected[i]),
              most * kError<T> * std::max(1.0, std::abs(expected[i])))
        << "element " << i;
  }
}

TYPED_TEST(AfterProductOnCuda, GatesTakeTheirPanels) {
  using T = TypeParam;
  constexpr Activation kActivations[]{Activation::gelu_tanh, Activation::gelu_erf,
                                      Activation::silu};
  test::for_random_cases(50, [&](Random& random) {
    const std::int64_t tokens = random.integer(1, 20);
    const std::int64_t outputs = random.integer(1, 300);
    const std::int64_t columns = gated_columns(outputs);
    const auto product = random_values<T>(random, tokens * columns, 2);
    const auto bias = random_values<T>(random, random.chance(0.5) ? 2 * outputs : 0, 0.5);
    const Activation activation = random.pick(std::span(kActivations));
    const DeviceArray<T> d_product(product);
    const DeviceArray<T> d_bias(bias);
    const DeviceArray<T> out(random_values<T>(random, tokens * outputs, 1));
    ASSERT_EQ(gate_cuda<T>({.product = d_product.data(),
                            .bias = bias.empty() ? nullptr : d_bias.data(),
                            .out = out.data(),
                            .tokens = tokens,
                            .outputs = outputs,
                            .activation = activation},
                           nullptr),
              cudaSuccess);
    std::vector<double> expected;
    for (std::int64_t i = 0; i < tokens * outputs; ++i) {
      const std::int64_t output = i % outputs;
      const auto at =
          static_cast<std::size_t>(i / outputs * columns + output / 64 * 128 + output % 64);
      const auto bias_of = [&](std::int64_t first) {
        return bias.empty() ? 0 : wide(bias[static_cast<std::size_t>(first + output)]);
      };
      expected.push_back(activated(activation, wide(product[at]) + bias_of(0)) *
                         (wide(product[at + 64]) + bias_of(outputs)));
    }
    expect_rounded(out.to_host(), expected, 2);
  });
}

TYPED_TEST(AfterProductOnCuda, NormsComeBeforeTheResidual) {
  using T = TypeParam;
  test::for_random_cases(50, [](Random& random) {
    const std::int64_t tokens = random.integer(1, 10);
    const std::int64_t size = random.integer(1, 1500);
    const auto product = random_values<T>(random, tokens * size, 3);
    const auto weight = random_values<T>(random, size, 1);
    const auto residual = random_values<T>(random, random.chance(0.7) ? tokens * size : 0, 1);
    const DeviceArray<T> d_product(product);
    const DeviceArray<T> d_weight(weight);
    const DeviceArray<T> d_residual(residual);
    const DeviceArray<T> out(product);
    ASSERT_EQ(normed_sum_cuda<T>({.product = d_product.data(),
                                  .norm_weight = d_weight.data(),
                                  .residual = residual.empty() ? nullptr : d_residual.data(),
                                  .out = out.data(),
                                  .tokens = tokens,
                                  .size = size,
                                  .epsilon = 1e-6F},
                                 nullptr),
              cudaSuccess);
    std::vector<double> expected =
        test::normalized(product, weight, std::vector<T>(), size, true, 1e-6, true);
    for (std::size_t i = 0; i < residual.size(); ++i) {
      expected[i] += wide(residual[i]);
    }
    expect_rounded(out.to_host(), expected, 4);
  });
}

TYPED_TEST(AfterProductOnCuda, CapsLogitsInPlace) {
  using T = TypeParam;
  test::for_random_cases(20, [](Random& random) {
    const auto logits = random_values<T>(random, random.integer(1, 2000), 40);
    const DeviceArray<T> on_device(logits);
    ASSERT_EQ(
        cap_logits_cuda(on_device.data(), static_cast<std::int64_t>(logits.size()), 30.0F, nullptr),
        cudaSuccess);
    std::vector<double> expected;
    for (const T logit : logits) {
      expected.push_back(30 * std::tanh(wide(logit) / 30));
    }
    expect_rounded(on_device.to_host(), expected, 2);
  });
}

}  // namespace
}  // namespace kvcache::kernels
