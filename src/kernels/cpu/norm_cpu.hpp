// Norms of tokens on the CPU.
#pragma once

#include <cstdint>

#include "base/parallel_for.hpp"

namespace kvcache::kernels {

enum class NormKind {
  layer,  // (x − mean) / √(variance + epsilon) · weight + bias
  rms     // x / √(mean of squares + epsilon) · weight (Zhang & Sennrich 2019, arXiv:1910.07467)
};

/// The norm of each token by itself; of all tokens, or of those selected. What `rms` reads and
/// writes may be the same memory.
struct TokenNormArgs {
  NormKind kind = NormKind::layer;
  const float* x = nullptr;                // [tokens, size], or more of which some are selected
  const float* weight = nullptr;           // [size]
  const float* bias = nullptr;             // [size], null for none, as that of rms is
  const float* residual = nullptr;         // [tokens, size], added to the norm; null for none
  float* out = nullptr;                    // [tokens, size]
  const std::int64_t* selected = nullptr;  // [selected_count], of each batch entry; null: all
  std::int64_t selected_count = 0;
  std::int64_t batch_tokens = 0;  // of a batch entry of x; used with `selected`
  std::int64_t tokens = 0;
  std::int64_t size = 0;
  float epsilon = 0;

  /// Row of x that token `token` of the output comes from.
  [[nodiscard]] std::int64_t row(std::int64_t token) const {
    return selected == nullptr
               ? token
               : token / selected_count * batch_tokens + selected[token % selected_count];
  }
};

/// All arithmetic is float32; a token's result depends on nothing but the token.
void norm_cpu(const TokenNormArgs& args, const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
