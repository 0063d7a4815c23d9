// Layer norm of tokens on the CPU.
#pragma once

#include <cstdint>

#include "ops/parallel_for.hpp"

namespace kvcache::ops {

/// out = (x − mean) / √(variance + epsilon) · weight + bias, each token by itself.
struct LayerNormArgs {
  const float* x = nullptr;       // [tokens, size]
  const float* weight = nullptr;  // [size]
  const float* bias = nullptr;    // [size]
  float* out = nullptr;           // [tokens, size]
  std::int64_t tokens = 0;
  std::int64_t size = 0;
  float epsilon = 0;
};

/// All arithmetic is float32; a token's result depends on nothing but the token.
void layer_norm_cpu(const LayerNormArgs& args, const ParallelFor& parallel_for);

}  // namespace kvcache::ops
