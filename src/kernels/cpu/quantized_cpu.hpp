// Products with weights of 8 or 4 bits, and rows of such a weight.
#pragma once

#include <cstdint>

#include "base/parallel_for.hpp"
#include "kernels/cpu/linear_cpu.hpp"
#include "kernels/quantized_weight.hpp"

namespace kvcache::kernels {

/// out = activation(x · weight + bias) + residual; gated as LinearArgs where the weight is two.
struct QuantizedLinearArgs {
  const float* x = nullptr;  // [tokens, weight.inputs]
  QuantizedWeight weight;
  const float* bias = nullptr;      // [weight.matrices · weight.outputs], null for none
  float* out = nullptr;             // [tokens, weight.outputs]
  const float* residual = nullptr;  // [tokens, weight.outputs], null for none
  std::int64_t tokens = 0;
  Activation activation = Activation::none;
  AccuracyLevel accuracy = AccuracyLevel::int8;
};

/// With int8 accuracy a token's result depends on nothing but the token, on every instruction set
/// with fused multiplication and addition to the same bit.
void quantized_linear_cpu(const QuantizedLinearArgs& args, const ParallelFor& parallel_for);

/// Row `output` of weightᵀ, in float32: out [inputs].
void quantized_row_cpu(const QuantizedWeight& weight, std::int64_t output, float* out);

}  // namespace kvcache::kernels
