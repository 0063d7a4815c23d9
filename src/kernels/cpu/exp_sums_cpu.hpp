// The denominator of a softmax in double precision, in parts: what a token is drawn by without a
// probability being kept for each.
#pragma once

#include <cstdint>

namespace kvcache::kernels {

/// Logits that one sum is of.
constexpr std::int64_t kExpSumBlock = 256;

/// sums[b] = Σ exp((logits[i] − largest) / temperature) over block b, of ⌈count / kExpSumBlock⌉;
/// no NaN, `largest` finite and none above it, temperature above 0.
void exp_sums_cpu(const float* logits, std::int64_t count, float largest, double temperature,
                  double* sums);

}  // namespace kvcache::kernels
