// Which of two tokens is the better one.
#pragma once

#include "ops/cuda/device_code.cuh"
#include "ops/cuda/top_logits_cuda.hpp"

namespace kvcache::ops {

/// Whether a comes before b: the larger logit, then the smaller id.
__device__ inline bool comes_before(const TopLogit& a, const TopLogit& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

/// The best of a warp's, in all its lanes.
__device__ inline TopLogit best_of_lanes(TopLogit best) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const TopLogit other{__shfl_xor_sync(kAllLanes, best.token, offset),
                         __shfl_xor_sync(kAllLanes, best.logit, offset)};
    best = comes_before(other, best) ? other : best;
  }
  return best;
}

}  // namespace kvcache::ops
