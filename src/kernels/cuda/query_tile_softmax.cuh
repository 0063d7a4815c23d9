// What a warp's queries have seen, as a softmax in registers, and how such are put together.
#pragma once

#include <cfloat>

#include "kernels/cuda/query_tile_short.cuh"
#include "kernels/cuda/query_tile_sight.cuh"
#include "kernels/cuda/query_tile_split.cuh"

namespace kvcache::kernels::query_tile {

/// A warp's 16 queries and what they have seen.
template <typename T, typename Shape>
class WarpTile {
 public:
  using Products = TileProducts<T, Shape>;
  static constexpr int kEights = Shape::kShareKeys / 8;

  __device__ WarpTile() : lane_(static_cast<int>(threadIdx.x) % 32) {}

  /// `queries`: the warp's; `keys` and `values`: its share of a step, from number `base` on; `own`:
  /// the first query.
  __device__ void attend(const T* queries, const T* keys, const T* values, const Sight<T>& sight,
                         int own, int base) {
    float scores[kEights][4] = {};
    Products::score(queries, keys, lane_, scores);
    weigh(sight, own, base, scores);
    Products::mix(values, lane_, scores, mixed_);
  }

  /// To [16, kSumStride] values, and [16] pairs of the largest score and the sum.
  __device__ void store(float* values, float2* moments) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum_[r] = sum_of_lanes<4>(sum_[r]);
      const int query = lane_ / 4 + 8 * r;
      Products::store(mixed_, r, lane_, values + query * Shape::kSumStride);
      if (lane_ % 4 == 0) {
        moments[query] = {max_[r], sum_[r]};
      }
    }
  }

 private:
  /// Scores to weights, and what was seen before to the new largest score.
  __device__ void weigh(const Sight<T>& sight, int own, int base, float (&scores)[kEights][4]) {
    constexpr float kLog2E = 1.4426950408889634F;  // powers of two are what the device has
    const float cap = sight.args.rules.soft_cap;
    const float scale = cap > 0 ? sight.args.scale : sight.args.scale * kLog2E;
#pragma unroll
    for (auto& eight : scores) {
#pragma unroll
      for (float& score : eight) {
        score *= scale;
      }
    }
    if (cap > 0) {
#pragma unroll
      for (auto& eight : scores) {
#pragma unroll
        for (float& score : eight) {
          // cap · tanh(score / cap), to a few parts in ten million of the cap.
          const float power = exp2_of(score * (2 * kLog2E / cap));
          score = cap * kLog2E * (1.0F - __fdividef(2.0F, 1.0F + power));
        }
      }
    }
    if (!sight.all_see(base, Shape::kShareKeys)) {
      hide(sight, own, base, scores);
    }
    float largest[2] = {max_[0], max_[1]};
#pragma unroll
    for (const auto& eight : scores) {
      largest[0] = fmaxf(largest[0], fmaxf(eight[0], eight[1]));
      largest[1] = fmaxf(largest[1], fmaxf(eight[2], eight[3]));
    }
#pragma unroll
    for (float& one : largest) {
      one = fmaxf(one, __shfl_xor_sync(kAllLanes, one, 1));
      one = fmaxf(one, __shfl_xor_sync(kAllLanes, one, 2));
    }
    if (__any_sync(kAllLanes, largest[0] > max_[0] || largest[1] > max_[1])) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float factor = exp2_of(max_[r] - largest[r]);
        max_[r] = largest[r];
        sum_[r] *= factor;
#pragma unroll
        for (auto& eight : mixed_) {
          eight[2 * r] *= factor;
          eight[2 * r + 1] *= factor;
        }
      }
    }
#pragma unroll
    for (auto& eight : scores) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        eight[i] = exp2_of(eight[i] - max_[i / 2]);
        sum_[i / 2] += eight[i];
      }
    }
  }

  /// Scores of what a query does not see weigh nothing.
  __device__ void hide(const Sight<T>& sight, int own, int base,
                       float (&scores)[kEights][4]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const std::uint64_t seen = sight.seen(own + lane_ / 4 + 8 * r, base) >> (lane_ % 4 * 2);
#pragma unroll
      for (int n = 0; n < kEights; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[n][2 * r + i];
          score = (seen >> (n * 8 + i) & 1) != 0 ? score : -INFINITY;
        }
      }
    }
  }

  int lane_;
  float mixed_[Shape::kHeadDim / 8][4] = {};  // as Products has them
  float max_[2] = {-FLT_MAX, -FLT_MAX};  // of rows g and g + 8; finite, so that differences are
  float sum_[2] = {};
};

/// Softmaxes of some parts of the keys as one: four of a query's values, the largest score and the
/// sum. Parts lie `stride` queries apart.
template <int kSumStride>
struct Merged {
  float4 value{0.0F, 0.0F, 0.0F, 0.0F};
  float max = -FLT_MAX;
  float sum = 0.0F;

  __device__ Merged(const float* values, const float2* moments, int parts, int stride, int query,
                    int column) {
    for (int part = 0; part < parts; ++part) {
      max = fmaxf(max, moments[part * stride + query].x);
    }
    for (int part = 0; part < parts; ++part) {
      const int at = part * stride + query;
      const float factor = exp2_of(moments[at].x - max);
      const auto own = *reinterpret_cast<const float4*>(values + at * kSumStride + column);
      value.x += own.x * factor;
      value.y += own.y * factor;
      value.z += own.z * factor;
      value.w += own.w * factor;
      sum += moments[at].y * factor;
    }
  }
};

}  // namespace kvcache::kernels::query_tile
