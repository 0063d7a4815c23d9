// Rows of tokens in shared memory, normalized on the way.
#pragma once

#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/linear_cuda.hpp"

namespace kvcache::kernels {

/// Mean and 1 / standard deviation of a row in shared memory, by one warp, in float32 and two
/// passes. An rms_norm's mean is 0.
__device__ inline float2 mean_and_scale(const float* row, int inputs, float epsilon,
                                        bool is_rms = false) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float mean = 0;
  if (!is_rms) {
    float sum = 0;
#pragma unroll 4
    for (int i = lane; i < inputs; i += 32) {
      sum += row[i];
    }
    mean = sum_of_lanes(sum) / static_cast<float>(inputs);
  }
  float squares = 0;
#pragma unroll 4
  for (int i = lane; i < inputs; i += 32) {
    const float difference = row[i] - mean;
    squares += difference * difference;
  }
  return {mean, rsqrtf(sum_of_lanes(squares) / static_cast<float>(inputs) + epsilon)};
}

/// Element i of a row that has these moments.
template <typename T>
__device__ float normalized(float x, float2 moments, const NormArgs<T>& norm, int i) {
  const float shift = norm.bias != nullptr ? to_float(norm.bias[i]) : 0.0F;
  return (x - moments.x) * moments.y * to_float(norm.weight[i]) + shift;
}

/// Brings `kRows` rows to shared memory, `to` [kRows, inputs], and normalizes them if `norm` says
/// so; those from `existing` on become zeros. `row_of(i)` tells which row of x the i-th is. All
/// threads take part, and may read `to` afterwards.
template <int kRows, typename T, typename RowOf>
__device__ void stage_rows(const T* x, const NormArgs<T>& norm, int existing, int inputs,
                           const RowOf& row_of, float* to) {
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  for (int row = 0; row < kRows; ++row) {
    const T* from = row < existing ? x + row_of(row) * inputs : nullptr;
#pragma unroll 4
    for (int i = thread; i < inputs; i += threads) {
      to[row * inputs + i] = from != nullptr ? to_float(from[i]) : 0.0F;
    }
  }
  __syncthreads();
  if (norm.weight == nullptr) {
    return;
  }
  if constexpr (kRows == 1) {  // every warp finds the moments, each normalizes a part
    const float2 moments = mean_and_scale(to, inputs, norm.epsilon, norm.is_rms);
    __syncthreads();
    for (int i = thread; i < inputs; i += threads) {
      to[i] = normalized(to[i], moments, norm, i);
    }
  } else {  // a warp per row
    for (int row = thread / 32; row < kRows; row += threads / 32) {
      float* values = to + row * inputs;
      const float2 moments = mean_and_scale(values, inputs, norm.epsilon, norm.is_rms);
      for (int i = thread % 32; i < inputs; i += 32) {
        values[i] = normalized(values[i], moments, norm, i);
      }
    }
  }
  __syncthreads();
}

}  // namespace kvcache::kernels
