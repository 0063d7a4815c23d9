// The attention of a fused step: a block per head and split of its past, a warp per eight
// positions. The past is on its way a layer ahead, before the query is known. Scores come from
// tensor cores; exponents are of base 2.
#pragma once

#include <cfloat>

#include "kernels/cuda/fused_products.cuh"

namespace kvcache::kernels {

template <typename T, typename Shape>
class FusedAttention {
 public:
  __device__ FusedAttention(const FusedStepArgs<T>& args, int block)
      : args_(args),
        head_(block / Shape::kSplits),
        split_(block % Shape::kSplits),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32) {}

  /// Where the warp's positions lie; once.
  __device__ void locate() {
    const int past = args_.inputs.past_length;
    const int share = (past + Shape::kSplits * kUnit - 1) / (Shape::kSplits * kUnit) * kUnit;
    first_ = split_ * share + warp_ * kUnit;
    end_ = min((split_ + 1) * share, past);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      rows_[u] = first_ + u * kApart < end_ ? row_of(first_ + u * kApart) : 0;
    }
    append_row_ = row_of(past);
  }

  [[nodiscard]] __device__ bool takes_part() const { return head_ < Shape::kHeads; }

  /// Starts to load a layer's past.
  __device__ void prefetch(int layer) {
    scale_ = args_.scales[layer] * kLog2E;
    keys_of_layer_ = args_.pools[2 * layer];
    values_of_layer_ = args_.pools[2 * layer + 1];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int first = first_ + u * kApart;
      if (first < end_) {
        // A lane's eight elements, twice, of position lane / 4; a pair of each position's values.
        const T* keys = keys_of_layer_ + std::int64_t{rows_[u]} * kFusedHeadDim;
        const auto* from = reinterpret_cast<const uint4*>(keys) + lane_ / 4 * 8 + lane_ % 4;
        keys_[u][0] = __ldcs(from);
        keys_[u][1] = __ldcs(from + 4);
        const T* values = values_of_layer_ + std::int64_t{rows_[u]} * kFusedHeadDim;
#pragma unroll
        for (int i = 0; i < kUnit; ++i) {
          values_[u][i] = first + i < end_
                              ? __ldcs(reinterpret_cast<const unsigned*>(values) + i * 32 + lane_)
                              : 0;
        }
      }
    }
  }

  /// Waits for the query, attends, appends the new key and value, and hands over the softmax.
  __device__ void run(unsigned* exchange, FusedShared& shared) {
    const unsigned* qkv = exchange + Shape::exchange().qkv() + head_ * (kFusedHeadDim / 2);
    float max = -FLT_MAX;
    float sum = 0;
    float2 value{0.0F, 0.0F};
    const bool appends = split_ == Shape::kSplits - 1 && warp_ == kFusedWarps - 1;
    if (first_ < end_ || appends) {
      const Arriving<11> words = receive_query(qkv, appends);
      if (first_ < end_) {
        attend(words, max, sum, value);
      }
      if (appends) {
        append(words, max, sum, value);
      }
    }
    shared.values[warp_][lane_] = value;
    if (lane_ == 0) {
      shared.softmaxes[warp_] = {max, sum};
    }
    __syncthreads();
    if (warp_ == 0) {
      merge(exchange, shared);
    }
  }

 private:
  static constexpr int kUnit = 8;  // positions of a warp; they lie in one block of the cache
  static constexpr int kApart = kUnit * kFusedWarps;
  static constexpr int kUnits = kMaxFusedContext / Shape::kSplits / kApart;
  static constexpr float kLog2E = 1.4426950408889634F;

  /// Where a position lies in a pool, in rows of head_dim.
  [[nodiscard]] __device__ unsigned row_of(int position) const {
    const int number = position >> args_.block_len_shift;
    const auto block = static_cast<unsigned>(args_.inputs.block_table[number]);
    return ((block * Shape::kHeads + static_cast<unsigned>(head_)) << args_.block_len_shift) +
           static_cast<unsigned>(position - (number << args_.block_len_shift));
  }

  /// Words 0 … 7: eight neighbouring elements of the query's both halves, in lanes 0 … 3. For the
  /// warp that appends, words 8 … 10: a pair of the query, the key and the value in every lane.
  __device__ Arriving<11> receive_query(const unsigned* qkv, bool appends) const {
    constexpr int kPart = Shape::kHidden / 2;
    pause(kCyclesOnTheWay);
    return receive<11>([&](Arriving<11>& to) {
      if (lane_ < 4) {
        to.template poll_four<0>(qkv + lane_ * 4);
        to.template poll_four<4>(qkv + 16 + lane_ * 4);
      }
      if (appends) {
        to.template poll_one<8>(qkv + lane_);
        to.template poll_one<9>(qkv + kPart + lane_);
        to.template poll_one<10>(qkv + 2 * kPart + lane_);
      }
    });
  }

  __device__ void attend(const Arriving<11>& arrived, float& max, float& sum, float2& value) const {
    const auto& words = arrived.words;
    const uint4 query[2] = {{words[0], words[1], words[2], words[3]},
                            {words[4], words[5], words[6], words[7]}};
    // Lanes 0 … 3 have the scores of two positions each.
    float weights[kUnits][2];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int first = first_ + u * kApart;
      if (first < end_) {
        StripSums scores;
        scores.add<T>(keys_[u][0], query[0]);
        scores.add<T>(keys_[u][1], query[1]);
        const float2 pair = scores.of_row();
        const int position = first + 2 * lane_;
        weights[u][0] = lane_ < 4 && position < end_ ? pair.x * scale_ : -FLT_MAX;
        weights[u][1] = lane_ < 4 && position + 1 < end_ ? pair.y * scale_ : -FLT_MAX;
        max = fmaxf(max, fmaxf(weights[u][0], weights[u][1]));
      }
    }
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
    max = __shfl_sync(kAllLanes, max, 0);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first_ + u * kApart < end_) {
        weights[u][0] = exp2_of(weights[u][0] - max);
        weights[u][1] = exp2_of(weights[u][1] - max);
        sum += weights[u][0] + weights[u][1];
#pragma unroll
        for (int i = 0; i < kUnit; ++i) {
          const float weight = __shfl_sync(kAllLanes, weights[u][i % 2], i / 2);
          const float2 one = values_of<T>(values_[u][i]);
          value.x += weight * one.x;
          value.y += weight * one.y;
        }
      }
    }
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
  }

  /// The new token, by one warp: a pair of elements per lane. `sum` is that of lane 0.
  __device__ void append(const Arriving<11>& arrived, float& max, float& sum, float2& value) const {
    const unsigned query = arrived.words[8];
    const unsigned key = arrived.words[9];
    const unsigned own = arrived.words[10];
    const std::int64_t at = std::int64_t{append_row_} * (kFusedHeadDim / 2) + lane_;
    reinterpret_cast<unsigned*>(keys_of_layer_)[at] = key;
    reinterpret_cast<unsigned*>(values_of_layer_)[at] = own;
    const float2 q = values_of<T>(query);
    const float2 k = values_of<T>(key);
    const float2 v = values_of<T>(own);
    const float score = sum_of_lanes(q.x * k.x + q.y * k.y) * scale_;
    const float raised = fmaxf(max, score);
    const float factor = exp2_of(max - raised);
    const float weight = exp2_of(score - raised);
    max = raised;
    sum = sum * factor + weight;
    value = {value.x * factor + weight * v.x, value.y * factor + weight * v.y};
  }

  /// The warps' softmaxes to one, sent. Every lane works out all of it: that takes less time
  /// than asking each other.
  __device__ void merge(unsigned* exchange, const FusedShared& shared) const {
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
      const float2 one = shared.values[warp][lane_];
      value.x += factor * one.x;
      value.y += factor * one.y;
    }
    // Nothing seen: zero. Not a number stays so.
    const float scale = sum == 0.0F ? 0.0F : __fdividef(1.0F, sum);
    const int part = head_ * Shape::kSplits + split_;
    broadcast<Shape>(exchange + Shape::exchange().attention() + part * (kFusedHeadDim / 2) + lane_,
                     pair_of<T>(value.x * scale, value.y * scale));
    if (lane_ < 2) {
      broadcast<Shape>(exchange + Shape::exchange().softmaxes() + 2 * part + lane_,
                       lane_ == 0 ? max : sum);
    }
  }

  const FusedStepArgs<T>& args_;
  int head_;
  int split_;
  int lane_;
  int warp_;
  int first_ = 0;               // of the warp's positions
  int end_ = 0;                 // of the split's
  unsigned rows_[kUnits] = {};  // the same in every layer
  unsigned append_row_ = 0;
  T* keys_of_layer_ = nullptr;
  T* values_of_layer_ = nullptr;
  float scale_ = 0;
  uint4 keys_[kUnits][2];
  unsigned values_[kUnits][kUnit];
};

/// A head's attention from its splits' softmaxes: a pair of elements per lane. By all warps of the
/// block, of which each has a head, or -1.
template <typename T, typename Shape>
__device__ float2 receive_attention(const unsigned* exchange, int head) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const unsigned* softmaxes =
      exchange + Shape::exchange().softmaxes() + 2 * head * Shape::kSplits + lane % 4 * 2;
  const unsigned* values =
      exchange + Shape::exchange().attention() + head * Shape::kSplits * (kFusedHeadDim / 2) + lane;
  const auto arriving = receive_together<2 + Shape::kSplits>([&](Arriving<2 + Shape::kSplits>& to) {
    if (head < 0) {
      return;
    }
    to.template poll_two<0>(softmaxes);
    to.template poll_one<2>(values);
    to.template poll_one<3>(values + kFusedHeadDim / 2);
    to.template poll_one<4>(values + 2 * (kFusedHeadDim / 2));
    to.template poll_one<5>(values + 3 * (kFusedHeadDim / 2));
  });
  // Lane l has split l % 4.
  static_assert(Shape::kSplits == 4);
  const float own = __uint_as_float(arriving.words[0]);
  float max = fmaxf(own, __shfl_xor_sync(kAllLanes, own, 1));
  max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
  const float weight = exp2_of(own - max) * __uint_as_float(arriving.words[1]);
  const float sum = sum_of_lanes<4>(weight);
  const float share = __fdividef(weight, sum);
  float2 value{0.0F, 0.0F};
#pragma unroll
  for (int split = 0; split < Shape::kSplits; ++split) {
    const float of_split = __shfl_sync(kAllLanes, share, split);
    const float2 pair = values_of<T>(arriving.words[2 + split]);
    value.x += of_split * pair.x;
    value.y += of_split * pair.y;
  }
  return value;
}

}  // namespace kvcache::kernels
