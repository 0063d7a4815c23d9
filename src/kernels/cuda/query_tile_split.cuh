// The products of a tile of queries in float32, each three of numbers with 11 bits (split.cuh).
//
// Which of 16 dims is which of the instruction's is anybody's choice, if it is the same for queries
// and keys: lane 4·g + t has dims 4t to 4t + 3 of both, side by side. Of the values' dims lane g
// has 4g to 4g + 3 of 32, one in each of four instructions; of eight keys a lane's are 2t and 2t +
// 1, whose scores it has.
#pragma once

#include "kernels/cuda/query_tile_products.cuh"
#include "kernels/cuda/split.cuh"

namespace kvcache::kernels::query_tile {

template <typename Shape>
struct TileProducts<float, Shape> {
  static constexpr int kEights = Shape::kShareKeys / 8;
  static constexpr int kGroup = 4;  // instructions of 32 dims of values
  static_assert(Shape::kHeadDim % (8 * kGroup) == 0);

  __device__ static void score(const float* queries, const float* keys, int lane,
                               float (&scores)[kEights][4]) {
    const int at = lane / 4 * Shape::kKeyStride + lane % 4 * 4;
#pragma unroll
    for (int d = 0; d < Shape::kHeadDim; d += 16) {
      const FourSplit query[2] = {load(queries + at + d),
                                  load(queries + at + 8 * Shape::kKeyStride + d)};
      FourSplit key[kEights];
#pragma unroll
      for (int n = 0; n < kEights; ++n) {
        key[n] = load(keys + at + n * 8 * Shape::kKeyStride + d);
      }
      float sums[kEights][4] = {};
      add_products([&](auto of_query, auto of_key) {
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
#pragma unroll
          for (int n = 0; n < kEights; ++n) {
            multiply_add_tf32(sums[n], query[0].of[i].*of_query, query[1].of[i].*of_query,
                              query[0].of[i + 1].*of_query, query[1].of[i + 1].*of_query,
                              key[n].of[i].*of_key, key[n].of[i + 1].*of_key);
          }
        }
      });
      add_to(scores, sums);
    }
  }

  __device__ static void mix(const float* values, int lane, const float (&weights)[kEights][4],
                             float (&mixed)[Shape::kHeadDim / 8][4]) {
    Split weight[kEights][4];
#pragma unroll
    for (int n = 0; n < kEights; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weight[n][i] = Split::of(weights[n][i]);
      }
    }
    const float* const value = values + lane % 4 * 2 * Shape::kValueStride + lane / 4 * 4;
#pragma unroll
    for (int group = 0; group < Shape::kHeadDim / (8 * kGroup); ++group) {
      float sums[kGroup][4] = {};
#pragma unroll
      for (int n = 0; n < kEights; ++n) {
        const float* const here = value + n * 8 * Shape::kValueStride + group * 8 * kGroup;
        const FourSplit first = load(here);
        const FourSplit second = load(here + Shape::kValueStride);
        add_products([&](auto of_weight, auto of_value) {
#pragma unroll
          for (int i = 0; i < kGroup; ++i) {
            multiply_add_tf32(sums[i], weight[n][0].*of_weight, weight[n][2].*of_weight,
                              weight[n][1].*of_weight, weight[n][3].*of_weight,
                              first.of[i].*of_value, second.of[i].*of_value);
          }
        });
      }
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          mixed[group * kGroup + i][k] += sums[i][k];
        }
      }
    }
  }

  __device__ static void store(const float (&mixed)[Shape::kHeadDim / 8][4], int r, int lane,
                               float* to) {
#pragma unroll
    for (int group = 0; group < Shape::kHeadDim / (8 * kGroup); ++group) {
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const int k = 2 * r + column;
        *reinterpret_cast<float4*>(to + group * 8 * kGroup + lane % 4 * 8 + column * 4) = {
            mixed[group * kGroup][k], mixed[group * kGroup + 1][k], mixed[group * kGroup + 2][k],
            mixed[group * kGroup + 3][k]};
      }
    }
  }

 private:
  __device__ static FourSplit load(const float* from) {
    return FourSplit(*reinterpret_cast<const float4*>(from));
  }

  /// The tensor cores cut sums off; these additions round.
  __device__ static void add_to(float (&to)[kEights][4], const float (&sums)[kEights][4]) {
#pragma unroll
    for (int n = 0; n < kEights; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to[n][i] += sums[n][i];
      }
    }
  }
};

}  // namespace kvcache::kernels::query_tile
