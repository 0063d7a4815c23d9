// The value head on CUDA against double precision.
#include "kernels/cuda/value_head_cuda.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <list>
#include <vector>

#include "support/element_types.hpp"
#include "support/gpu.hpp"
#include "support/random_cases.hpp"
#include "support/value_activations.hpp"

namespace kvcache::kernels {
namespace {

using test::activated;
using test::DeviceArray;
using test::kError;
using test::normalized;
using test::Random;
using test::random_values;
using test::rounded;
using test::wide;

constexpr ValueActivation kActivations[]{ValueActivation::identity, ValueActivation::relu,
                                         ValueActivation::gelu_erf, ValueActivation::tanh,
                                         ValueActivation::sigmoid};

/// A random value head on the device, and what it must give in double precision.
template <typename T>
class ValueHeadCase {
 public:
  explicit ValueHeadCase(Random& random) {
    constexpr std::int64_t kInputs[] = {1, 12, 31, 64, 128, 256, 768, 1600};
    constexpr std::int64_t kOutputs[] = {1, 7, 33, 64, 200, 768};
    inputs_ = random.pick(std::span(kInputs));
    const std::int64_t all = random.integer(1, 12);
    const std::vector<T> x = random_values<T>(random, all * inputs_, 1);
    const std::vector<T> weight = random_values<T>(random, inputs_, 1);
    const std::vector<T> bias = random_values<T>(random, inputs_, 0.1);
    args.x = on_device(x);
    args.norm = {on_device(weight), on_device(bias), 1e-5F};
    args.inputs = inputs_;
    args.activation = random.pick(std::span(kActivations));
    args.output_activation = random.pick(std::span(kActivations));
    args.layer_epsilon = 1e-5F;
    values_ = normalized(x, weight, bias, inputs_, true, 1e-5);
    std::int64_t width = inputs_;
    args.num_layers = static_cast<int>(random.integer(0, kMostValueLayers));
    for (int layer = 0; layer < args.num_layers; ++layer) {
      width = add_layer(random, args.layers[layer], width, random.pick(std::span(kOutputs)));
    }
    const std::vector<T> output_weight = weights(random, width, width);
    const std::vector<T> output_bias = random_values<T>(random, 1, 0.3);
    args.output_weight = on_device(output_weight);
    args.output_bias = on_device(output_bias);
    values_ = product(width, 1, output_weight, output_bias);
    activate(args.output_activation);
    choose(random, all);
    args.out =
        on_device(std::vector<T>(static_cast<std::size_t>(args.tokens), rounded<T>(std::nan(""))));
  }

  /// Of the results, to what is expected, over 1 + its size.
  [[nodiscard]] double largest_error() const {
    const std::vector<T> found = kept_.back().to_host();
    double largest = 0;
    for (std::size_t token = 0; token < found.size(); ++token) {
      const double expected =
          values_[positions_.empty() ? token : static_cast<std::size_t>(positions_[token])];
      const double error = std::abs(wide(found[token]) - expected) / (1 + std::abs(expected));
      largest =
          std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(largest, error);
    }
    return largest;
  }

  ValueHeadCudaArgs<T> args;

 private:
  T* on_device(const std::vector<T>& values) { return kept_.emplace_back(values).data(); }

  static std::vector<T> weights(Random& random, std::int64_t count, std::int64_t inputs) {
    return random_values<T>(random, count, 1 / std::sqrt(static_cast<double>(inputs)));
  }

  /// values · weightᵀ + bias.
  [[nodiscard]] std::vector<double> product(std::int64_t inputs, std::int64_t outputs,
                                            const std::vector<T>& weight,
                                            const std::vector<T>& bias) const {
    std::vector<double> result;
    for (std::size_t row = 0; row < values_.size(); row += static_cast<std::size_t>(inputs)) {
      for (std::int64_t output = 0; output < outputs; ++output) {
        double sum = wide(bias[static_cast<std::size_t>(output)]);
        for (std::int64_t i = 0; i < inputs; ++i) {
          sum += values_[row + static_cast<std::size_t>(i)] *
                 wide(weight[static_cast<std::size_t>(output * inputs + i)]);
        }
        result.push_back(sum);
      }
    }
    return result;
  }

  void activate(ValueActivation activation) {
    for (double& value : values_) {
      value = activated(activation, value);
    }
  }

  std::int64_t add_layer(Random& random, ValueLayerCudaArgs<T>& layer, std::int64_t inputs,
                         std::int64_t outputs) {
    const std::vector<T> weight = weights(random, outputs * inputs, inputs);
    const std::vector<T> bias = random_values<T>(random, outputs, 0.3);
    layer.weight = on_device(weight);
    layer.bias = on_device(bias);
    layer.outputs = outputs;
    values_ = product(inputs, outputs, weight, bias);
    // Of few values a norm may divide by nearly nothing, which no precision survives.
    if (outputs >= 7 && random.chance(0.5)) {
      const std::vector<T> norm_weight = random_values<T>(random, outputs, 1);
      const std::vector<T> norm_bias = random_values<T>(random, outputs, 0.1);
      layer.norm_weight = on_device(norm_weight);
      layer.norm_bias = on_device(norm_bias);
      values_ = normalized(values_, norm_weight, norm_bias, outputs, true, 1e-5);
    }
    activate(args.activation);
    return outputs;
  }

  void choose(Random& random, std::int64_t all) {
    args.tokens = all;
    if (random.chance(0.5)) {
      for (std::int64_t i = random.integer(1, 9); i > 0; --i) {
        positions_.push_back(random.integer(0, all - 1));
      }
      device_positions_.emplace_back(positions_);
      args.positions = device_positions_.back().data();
      args.tokens = static_cast<std::int64_t>(positions_.size());
    }
  }

  std::int64_t inputs_ = 0;
  std::vector<double> values_;  // of all tokens, as far as they are computed
  std::vector<std::int64_t> positions_;
  std::list<DeviceArray<T>> kept_;  // the results last
  std::list<DeviceArray<std::int64_t>> device_positions_;
};

template <typename T>
class ValueHeadOnCuda : public test::OnGpu {};
using Types = testing::Types<float, __half, __nv_bfloat16>;
TYPED_TEST_SUITE(ValueHeadOnCuda, Types);

TYPED_TEST(ValueHeadOnCuda, AgreesWithDoublePrecision) {
  test::for_random_cases(60, [](Random& random) {
    ValueHeadCase<TypeParam> head(random);
    ASSERT_EQ(value_head_cuda(head.args, nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_LE(head.largest_error(), 10 * kError<TypeParam>)
        << head.args.tokens << " x " << head.args.inputs << ", " << head.args.num_layers;
  });
}

TYPED_TEST(ValueHeadOnCuda, WhatDoesNotFitSharedMemoryIsRefused) {
  EXPECT_TRUE(value_head_fits(768, 3072));
  EXPECT_FALSE(value_head_fits(1 << 16, 64));
  EXPECT_FALSE(value_head_fits(64, std::numeric_limits<std::int64_t>::max() / 8));
  Random random(1);
  ValueHeadCase<TypeParam> head(random);
  head.args.inputs = 1 << 16;
  EXPECT_EQ(value_head_cuda(head.args, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace kvcache::kernels
