// Rows of tokens in shared memory, normalized on the way.
#pragma once

#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/linear_cuda.hpp"

namespace kvcache::kernels {

/// The tanh approximation of gelu (Hendrycks and Gimpel, arXiv:1606.08415).
__device__ inline float gelu_tanh(float x) {
  const float cubic = 0.044715F * x * x * x;
  return 0.5F * x * (1.0F + tanhf(0.7978845608F * (x + cubic)));
}

/// Mean and 1 / standard deviation of a row in shared memory, by one warp, in float32 and two
/// passes.
__device__ inline float2 mean_and_scale(const float* row, int inputs, float epsilon) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float sum = 0;
#pragma unroll 4
  for (int i = lane; i < inputs; i += 32) {
    sum += row[i];
  }
  const float mean = sum_of_lanes(sum) / static_cast<float>(inputs);
  float squares = 0;
#pragma unroll 4
  for (int i = lane; i < inputs; i += 32) {
    const float difference = row[i] - mean;
    squares += difference * difference;
  }
  return {mean, rsqrtf(sum_of_lanes(squares) / static_cast<float>(inputs) + epsilon)};
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
    const float2 moments = mean_and_scale(to, inputs, norm.epsilon);
    __syncthreads();
    for (int i = thread; i < inputs; i += threads) {
      to[i] = (to[i] - moments.x) * moments.y * to_float(norm.weight[i]) + to_float(norm.bias[i]);
    }
  } else {  // a warp per row
    for (int row = thread / 32; row < kRows; row += threads / 32) {
      float* values = to + row * inputs;
      const float2 moments = mean_and_scale(values, inputs, norm.epsilon);
      for (int i = thread % 32; i < inputs; i += 32) {
        values[i] =
            (values[i] - moments.x) * moments.y * to_float(norm.weight[i]) + to_float(norm.bias[i]);
      }
    }
  }
  __syncthreads();
}

}  // namespace kvcache::kernels
