// What a warp does with a query or key in shared memory, where the other half of a pair is another
// lane's.
#pragma once

#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

/// The warp's vector, normed.
template <typename T>
__device__ void norm_vector(const T* weight, int head_dim, float epsilon, float* vector) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float squares = 0;
  for (int i = lane; i < head_dim; i += 32) {
    squares += vector[i] * vector[i];
  }
  const float scale = rsqrtf(sum_of_lanes(squares) / static_cast<float>(head_dim) + epsilon);
  for (int i = lane; i < head_dim; i += 32) {
    vector[i] *= scale * to_float(weight[i]);
  }
  __syncwarp();
}

/// The warp's vector, turned by a position's angles, [pairs] each; null: not a number.
__device__ inline void turn_vector(const float* cosines, const float* sines, int pairs,
                                   bool interleaved, float* vector) {
  for (int i = static_cast<int>(threadIdx.x) % 32; i < pairs; i += 32) {
    const int one = interleaved ? 2 * i : i;
    const int other = interleaved ? one + 1 : one + pairs;
    const float cos = cosines != nullptr ? cosines[i] : nanf("");
    const float sin = sines != nullptr ? sines[i] : nanf("");
    const float a = vector[one];
    const float b = vector[other];
    vector[one] = a * cos - b * sin;
    vector[other] = b * cos + a * sin;
  }
  __syncwarp();
}

}  // namespace kvcache::kernels
