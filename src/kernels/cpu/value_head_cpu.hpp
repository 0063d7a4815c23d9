// The value head of a model on the CPU: a few small products of the final norm of a token, each
// with a norm and an activation function, down to one number.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/parallel_for.hpp"
#include "kernels/cpu/norm_cpu.hpp"
#include "kernels/value_activation.hpp"

namespace kvcache::kernels {

/// x · weight + bias, then a layer norm where norm_weight is there.
struct ValueHeadLayer {
  const float* weight = nullptr;       // [panel_count(outputs), inputs, kPanelColumns]
  const float* bias = nullptr;         // [outputs]
  const float* norm_weight = nullptr;  // [outputs], null for no norm
  const float* norm_bias = nullptr;    // [outputs]
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

/// What of it is the same in every run.
struct ValueHead {
  TokenNormArgs norm;  // the final one
  std::array<ValueHeadLayer, kMostValueLayers> layers;
  std::size_t num_layers = 0;
  const float* output_weight = nullptr;  // [inputs of the output]
  float output_bias = 0;
  float layer_epsilon = 0;  // of the layers' norms
  ValueActivation activation = ValueActivation::relu;
  ValueActivation output_activation = ValueActivation::tanh;
};

/// And what is not; as in TokenNormArgs.
struct ValueHeadRun {
  const float* x = nullptr;  // [tokens, size of the norm], or more of which some are selected
  const std::int64_t* selected = nullptr;
  std::int64_t selected_count = 0;
  std::int64_t batch_tokens = 0;
  float* out = nullptr;  // [tokens]
  std::int64_t tokens = 0;
};

/// All arithmetic is float32.
void value_head_cpu(const ValueHead& head, const ValueHeadRun& run,
                    const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
