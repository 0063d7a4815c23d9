// A warp's positions of a head's past in a fused step: keys and values are on their way to
// registers before the query is known, scores come from tensor cores, exponents are of base 2.
#pragma once

#include <cfloat>
#include <cstdint>

#include "kernels/cuda/fused_products.cuh"

namespace kvcache::kernels {

/// Of what a warp has seen: `sum` in parts in lanes 0 … 3, a pair of elements of `value` in each.
struct WarpSoftmax {
  float max = -FLT_MAX;
  float sum = 0;
  float2 value{0.0F, 0.0F};

  /// Before scores of at most `other` are added.
  __device__ void raise(float other) {
    const float raised = fmaxf(max, other);
    const float factor = exp2_of(max - raised);
    max = raised;
    sum *= factor;
    value = {value.x * factor, value.y * factor};
  }

  /// The whole sum in lanes 0 … 3.
  __device__ void join_sums() {
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
  }
};

/// The query as a warp multiplies with it: eight neighbouring elements of both halves, in lanes
/// 0 … 3.
struct WarpQuery {
  uint4 halves[2];

  /// Of the first eight words.
  __device__ static WarpQuery of(const unsigned* words) {
    return {{{words[0], words[1], words[2], words[3]}, {words[4], words[5], words[6], words[7]}}};
  }
};

/// kUnits times eight positions are in registers at once.
template <typename T, int kUnits>
class WarpPast {
 public:
  static constexpr int kUnit = 8;  // positions of a warp; they lie in one block of the cache
  static constexpr int kApart = kUnit * kFusedWarps;
  static constexpr int kStep = kUnits * kApart;  // to the warp's next positions

  __device__ explicit WarpPast(int lane) : lane_(lane) {}

  /// Which positions the warp has of this split, once; `row_of(position)` is where one lies in a
  /// pool, in rows of head_dim, the same in every layer.
  template <typename RowOf>
  __device__ void locate(int past, int split, int splits, int warp, const RowOf& row_of) {
    const int share = (past + splits * kUnit - 1) / (splits * kUnit) * kUnit;
    first_ = split * share + warp * kUnit;
    end_ = min((split + 1) * share, past);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      rows_[u] = first_ + u * kApart < end_ ? row_of(first_ + u * kApart) : 0;
    }
  }

  [[nodiscard]] __device__ int first() const { return first_; }
  [[nodiscard]] __device__ int end() const { return end_; }  // of the split's positions
  [[nodiscard]] __device__ bool exists() const { return first_ < end_; }
  [[nodiscard]] __device__ float scale() const { return scale_; }

  /// Starts to load a layer's first positions.
  __device__ void prefetch(const FusedStepArgs<T>& args, int layer) {
    scale_ = args.scales[layer] * kLog2E;
    keys_of_layer_ = args.pools[2 * layer];
    values_of_layer_ = args.pools[2 * layer + 1];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first_ + u * kApart < end_) {
        load(u, first_ + u * kApart, rows_[u]);
      }
    }
  }

  /// Loads later positions, from `first` on.
  template <typename RowOf>
  __device__ void load_from(int first, const RowOf& row_of) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first + u * kApart < end_) {
        load(u, first + u * kApart, row_of(first + u * kApart));
      }
    }
  }

  /// Scores of the loaded positions, the first of which is `begin`: of two each in lanes 0 … 3.
  struct Scores {
    float of[kUnits][2];
    float max = -FLT_MAX;  // the same in every lane
  };
  [[nodiscard]] __device__ Scores score(const WarpQuery& query, int begin) const {
    Scores scores;
    float max = -FLT_MAX;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int first = begin + u * kApart;
      if (first < end_) {
        StripSums sums;
        sums.add<T>(keys_[u][0], query.halves[0]);
        sums.add<T>(keys_[u][1], query.halves[1]);
        const float2 pair = sums.of_row();
        const int position = first + 2 * lane_;
        scores.of[u][0] = lane_ < 4 && position < end_ ? pair.x * scale_ : -FLT_MAX;
        scores.of[u][1] = lane_ < 4 && position + 1 < end_ ? pair.y * scale_ : -FLT_MAX;
        max = fmaxf(max, fmaxf(scores.of[u][0], scores.of[u][1]));
      }
    }
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
    scores.max = __shfl_sync(kAllLanes, max, 0);
    return scores;
  }

  /// Adds their values to a softmax whose `max` is at least theirs.
  __device__ void add(Scores scores, int begin, WarpSoftmax& softmax) const {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (begin + u * kApart < end_) {
        scores.of[u][0] = exp2_of(scores.of[u][0] - softmax.max);
        scores.of[u][1] = exp2_of(scores.of[u][1] - softmax.max);
        softmax.sum += scores.of[u][0] + scores.of[u][1];
#pragma unroll
        for (int i = 0; i < kUnit; ++i) {
          const float weight = __shfl_sync(kAllLanes, scores.of[u][i % 2], i / 2);
          const float2 one = values_of<T>(values_[u][i]);
          softmax.value.x += weight * one.x;
          softmax.value.y += weight * one.y;
        }
      }
    }
  }

  /// A new token's key and value, a pair of elements per lane, into the pools.
  __device__ void append(unsigned row, unsigned key, unsigned value) const {
    const std::int64_t at = std::int64_t{row} * (kFusedHeadDim / 2) + lane_;
    reinterpret_cast<unsigned*>(keys_of_layer_)[at] = key;
    reinterpret_cast<unsigned*>(values_of_layer_)[at] = value;
  }

 private:
  static constexpr float kLog2E = 1.4426950408889634F;

  /// A lane's eight elements, twice, of position lane / 4; a pair of each position's values.
  __device__ void load(int u, int first, unsigned row) {
    const T* keys = keys_of_layer_ + std::int64_t{row} * kFusedHeadDim;
    const auto* from = reinterpret_cast<const uint4*>(keys) + lane_ / 4 * 8 + lane_ % 4;
    keys_[u][0] = __ldcs(from);
    keys_[u][1] = __ldcs(from + 4);
    const T* values = values_of_layer_ + std::int64_t{row} * kFusedHeadDim;
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      values_[u][i] =
          first + i < end_ ? __ldcs(reinterpret_cast<const unsigned*>(values) + i * 32 + lane_) : 0;
    }
  }

  int lane_;
  int first_ = 0;
  int end_ = 0;
  unsigned rows_[kUnits] = {};
  T* keys_of_layer_ = nullptr;
  T* values_of_layer_ = nullptr;
  float scale_ = 0;
  uint4 keys_[kUnits][2];
  unsigned values_[kUnits][kUnit];
};

/// Where a position lies in a pool, in rows of head_dim, by the blocks of its row of the table.
template <typename T, typename Shape>
[[nodiscard]] __device__ unsigned row_of_pool(const FusedStepArgs<T>& args,
                                              const std::int32_t* blocks, int head, int position) {
  const int number = position >> args.block_len_shift;
  const auto block = static_cast<unsigned>(blocks[number]);
  return ((block * Shape::kHeads + static_cast<unsigned>(head)) << args.block_len_shift) +
         static_cast<unsigned>(position - (number << args.block_len_shift));
}

/// The softmaxes of a block's warps to one, sent as part `part` of the step's. Every lane works out
/// all of it: that takes less time than asking each other.
template <typename T, typename Shape>
__device__ void send_softmax(unsigned* exchange, const FusedShared& shared, int part, int lane) {
  float max = -FLT_MAX;
#pragma unroll
  for (const float2& softmax : shared.softmaxes) {
    max = fmaxf(max, softmax.x);
  }
  float sum = 0;
  float2 value{0.0F, 0.0F};
#pragma unroll
  for (int warp = 0; warp < kFusedWarps; ++warp) {
    const float factor = exp2_of(shared.softmaxes[warp].x - max);
    sum += factor * shared.softmaxes[warp].y;
    const float2 one = shared.values[warp][lane];
    value.x += factor * one.x;
    value.y += factor * one.y;
  }
  // Nothing seen: zero. Not a number stays so.
  const float scale = sum == 0.0F ? 0.0F : __fdividef(1.0F, sum);
  broadcast<Shape>(exchange + Shape::exchange().attention() + part * (kFusedHeadDim / 2) + lane,
                   pair_of<T>(value.x * scale, value.y * scale));
  if (Shape::kSplits > 1 && lane < 2) {
    broadcast<Shape>(exchange + Shape::exchange().softmaxes() + 2 * part + lane,
                     lane == 0 ? max : sum);
  }
}

/// A head's attention from its splits: lane l has the softmax of split l % kSplits, all have a pair
/// of elements of each split's values.
template <typename T, int kSplits>
__device__ float2 joined_splits(float max_of_split, float sum_of_split, const unsigned* values) {
  float max = max_of_split;
#pragma unroll
  for (int offset = 1; offset < kSplits; offset *= 2) {
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, offset));
  }
  const float weight = exp2_of(max_of_split - max) * sum_of_split;
  const float share = __fdividef(weight, sum_of_lanes<kSplits>(weight));
  float2 value{0.0F, 0.0F};
#pragma unroll
  for (int split = 0; split < kSplits; ++split) {
    const float of_split = __shfl_sync(kAllLanes, share, split);
    const float2 pair = values_of<T>(values[split]);
    value.x += of_split * pair.x;
    value.y += of_split * pair.y;
  }
  return value;
}

}  // namespace kvcache::kernels
