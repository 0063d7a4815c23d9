// The products of a tile of queries in 16 bits.
#pragma once

#include "kernels/cuda/query_tile_products.cuh"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels::query_tile {

template <typename T, typename Shape>
struct TileProducts {
  static constexpr int kEights = Shape::kShareKeys / 8;

  __device__ static void score(const T* queries, const T* keys, int lane,
                               float (&scores)[kEights][4]) {
    // Dims outside: eight sums, none of which waits for another.
    const T* const key = keys + (lane % 8 + lane / 16 * 8) * Shape::kKeyStride + lane / 8 % 2 * 8;
#pragma unroll
    for (int d = 0; d < Shape::kHeadDim / 16; ++d) {
      unsigned query[4];
      load_matrices(queries + lane % 16 * Shape::kKeyStride + d * 16 + lane / 16 * 8, query);
      unsigned pairs[kEights / 2][4];
#pragma unroll
      for (int n = 0; n < kEights; n += 2) {
        load_matrices(key + n * 8 * Shape::kKeyStride + d * 16, pairs[n / 2]);
      }
#pragma unroll
      for (int n = 0; n < kEights; n += 2) {
        multiply_add<T>(scores[n], query, pairs[n / 2][0], pairs[n / 2][1]);
        multiply_add<T>(scores[n + 1], query, pairs[n / 2][2], pairs[n / 2][3]);
      }
    }
  }

  /// Weights are rounded to T.
  __device__ static void mix(const T* values, int lane, const float (&weights)[kEights][4],
                             float (&mixed)[Shape::kHeadDim / 8][4]) {
    const T* const value = values + lane % 16 * Shape::kValueStride + lane / 16 * 8;
#pragma unroll
    for (int n = 0; n < kEights; n += 2) {
      const unsigned packed[4] = {
          pack(weights[n][0], weights[n][1]), pack(weights[n][2], weights[n][3]),
          pack(weights[n + 1][0], weights[n + 1][1]), pack(weights[n + 1][2], weights[n + 1][3])};
#pragma unroll
      for (int d = 0; d < Shape::kHeadDim / 8; d += 2) {
        unsigned pair[4];
        load_transposed(value + n * 8 * Shape::kValueStride + d * 8, pair);
        multiply_add<T>(mixed[d], packed, pair[0], pair[1]);
        multiply_add<T>(mixed[d + 1], packed, pair[2], pair[3]);
      }
    }
  }

  __device__ static void store(const float (&mixed)[Shape::kHeadDim / 8][4], int r, int lane,
                               float* to) {
#pragma unroll
    for (int d = 0; d < Shape::kHeadDim / 8; ++d) {
      const Vector<float, 2> both{mixed[d][2 * r], mixed[d][2 * r + 1]};
      both.store(to + d * 8 + lane % 4 * 2);
    }
  }

 private:
  __device__ static unsigned pack(float low, float high) {
    const Vector<T, 2> both{from_float<T>(low), from_float<T>(high)};
    return *reinterpret_cast<const unsigned*>(&both);
  }
};

}  // namespace kvcache::kernels::query_tile
