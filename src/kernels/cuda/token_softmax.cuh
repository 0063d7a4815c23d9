// What a group of attention_by_token.cu has seen, as a softmax in registers, and how such are put
// together.
#pragma once

#include <cfloat>

#include "kernels/cuda/token_layout.cuh"

namespace kvcache::kernels::token_attention {

/// A lane's part of the product of a query and a key.
template <typename Layout>
__device__ float dot_of_lane(const float (&query)[Layout::kElements],
                             const typename Layout::Kept& key) {
  float dot = 0;
#pragma unroll
  for (int c = 0; c < Layout::kChunks; ++c) {
    float elements[Layout::kVector];
    widen(key.chunks[c], elements);
#pragma unroll
    for (int i = 0; i < Layout::kVector; ++i) {
      dot += query[c * Layout::kVector + i] * elements[i];
    }
  }
  return dot * scale_of(key);
}

/// A softmax of some positions: their largest score, the sum of exp(score − largest), and the
/// values weighted so.
template <typename Layout>
struct Softmax {
  float max = -FLT_MAX;
  float sum = 0;
  float values[Layout::kElements] = {};

  __device__ void raise_max(float new_max) {
    const float factor = __expf(max - new_max);
    sum *= factor;
#pragma unroll
    for (float& value : values) {
      value *= factor;
    }
    max = new_max;
  }

  /// Those of the warp's groups as one, in each of them.
  __device__ void join_groups() {
    float of_warp = max;
#pragma unroll
    for (int offset = kGroupLanes; offset < 32; offset *= 2) {
      of_warp = fmaxf(of_warp, __shfl_xor_sync(kAllLanes, of_warp, offset));
    }
    raise_max(of_warp);
#pragma unroll
    for (int offset = kGroupLanes; offset < 32; offset *= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, offset);
#pragma unroll
      for (float& value : values) {
        value += __shfl_xor_sync(kAllLanes, value, offset);
      }
    }
  }

  /// `weight`: exp(score − max).
  __device__ void add(float weight, const typename Layout::Kept& value) {
    sum += weight;
    weight *= scale_of(value);
#pragma unroll
    for (int c = 0; c < Layout::kChunks; ++c) {
      float elements[Layout::kVector];
      widen(value.chunks[c], elements);
#pragma unroll
      for (int i = 0; i < Layout::kVector; ++i) {
        values[c * Layout::kVector + i] += weight * elements[i];
      }
    }
  }
};

/// One of head_dim elements of softmaxes put together: the largest score, and of the values and the
/// weights the sums.
struct Joined {
  float max = -FLT_MAX;
  float sum = 0;
  float value = 0;
};

/// Softmaxes of parts of what a query sees, in shared memory.
template <typename Layout, int kMost>
struct Parts {
  float maxima[kMost];
  float sums[kMost];
  float values[kMost][Layout::kMostDims];

  /// The first `count` of them.
  [[nodiscard]] __device__ Joined joined(int count, int element) const {
    Joined all;
#pragma unroll
    for (int part = 0; part < kMost; ++part) {
      all.max = part < count ? fmaxf(all.max, maxima[part]) : all.max;
    }
#pragma unroll
    for (int part = 0; part < kMost; ++part) {
      if (part < count) {
        const float factor = __expf(maxima[part] - all.max);
        all.sum += factor * sums[part];
        all.value += factor * values[part][element];
      }
    }
    return all;
  }
};

}  // namespace kvcache::kernels::token_attention
