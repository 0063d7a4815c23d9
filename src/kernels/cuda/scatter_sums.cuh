// How the threads of a strip of columns add up.
#pragma once

#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

/// Sums over lanes that have the same half (even or odd lanes): lane 2·(2·i + j)… ends up with some
/// of the columns' sums. Halves the values with each step, so that eight columns take eight
/// exchanges. Returns the first column whose sum this lane holds, and how many follow it in `sum`.
template <int kVector>
__device__ int scatter_sums(float (&sum)[kVector], int lane) {
  int first = 0;
  int offset = 16;
#pragma unroll
  for (int held = kVector; held > 1; held /= 2, offset /= 2) {
    const bool upper = (lane & offset) != 0;
#pragma unroll
    for (int c = 0; c < held / 2; ++c) {
      const float give = upper ? sum[c] : sum[c + held / 2];
      const float keep = upper ? sum[c + held / 2] : sum[c];
      sum[c] = keep + __shfl_xor_sync(kAllLanes, give, offset);
    }
    first += upper ? held / 2 : 0;
  }
  for (; offset > 1; offset /= 2) {
    sum[0] += __shfl_xor_sync(kAllLanes, sum[0], offset);
  }
  return first;
}

}  // namespace kvcache::kernels
