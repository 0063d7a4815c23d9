// How a warp rounds the inputs of a product with quantised weights to integers of 8 bits.
#pragma once

#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/quantized_tokens.hpp"

namespace kvcache::kernels {

/// Eight inputs of a column, and the sum of its block.
struct EightRounded {
  uint2 values;
  int sum;
};

/// The least of what a block's largest magnitude counts as, as bits: 1e-30, so that zeros have a
/// finite inverse.
constexpr unsigned kLeastLargest = 0x0DA24260U;

/// To the nearest integer of a byte, ties to even.
__device__ inline int rounded_to_byte(float x) { return max(-127, min(127, __float2int_rn(x))); }

/// A block's largest magnitude: as bits, so that NaN and Inf are larger than all numbers. `lanes`
/// neighbouring lanes have it, a power of two; all of the warp take part.
__device__ inline float largest_of_block(const float (&x)[8], int lanes) {
  unsigned largest = kLeastLargest;
#pragma unroll
  for (const float element : x) {
    largest = max(largest, __float_as_uint(element) & 0x7FFFFFFFU);
  }
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, offset));
  }
  return __uint_as_float(largest);
}

/// x / scale to the nearest integers, ties to even; x becomes what that takes from it.
__device__ inline EightRounded round_eight(float (&x)[8], float inverse, float scale, int lanes) {
  int rounded[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    rounded[i] = rounded_to_byte(x[i] * inverse);
    x[i] = fmaf(-static_cast<float>(rounded[i]), scale, x[i]);
  }
  const auto four = [&](int first) {
    unsigned word = 0;
#pragma unroll
    for (int i = 3; i >= 0; --i) {
      word = word << 8U | (static_cast<unsigned>(rounded[first + i]) & 0xFFU);
    }
    return word;
  };
  EightRounded result{make_uint2(four(0), four(4)), 0};
  constexpr int kOnes = 0x01010101;
  result.sum = __dp4a(static_cast<int>(result.values.x), kOnes,
                      __dp4a(static_cast<int>(result.values.y), kOnes, 0));
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    result.sum += __shfl_xor_sync(kAllLanes, result.sum, offset);
  }
  return result;
}

/// Calls store(level, rounded, scale) for each of a lane's eight inputs' columns; NaN and Inf make
/// the scale NaN. `lanes`: those that have a block, 8 inputs each.
template <typename Store>
__device__ void round_to_levels(float (&x)[8], int lanes, int levels, const Store& store) {
  const float largest = largest_of_block(x, lanes);
  const bool finite = __float_as_uint(largest) < 0x7F800000U;
  float scale = largest / 127.0F;
  float inverse = 127.0F / largest;
  for (int level = 0; level < levels; ++level) {
    const EightRounded rounded = round_eight(x, inverse, scale, lanes);
    store(level, rounded, finite ? scale : nanf(""));
    scale /= 254.0F;
    inverse = 1.0F / scale;
  }
}

}  // namespace kvcache::kernels
