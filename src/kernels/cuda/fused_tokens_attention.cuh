// The attention of a fused step of several tokens: a block per token, head and split of its past, a
// warp per eight positions. The first positions of each warp are on their way a layer ahead, before
// the query is known; those of longer pasts come as they are needed.
#pragma once

#include <cfloat>

#include "kernels/cuda/fused_attention.cuh"
#include "kernels/cuda/fused_tokens.cuh"

namespace kvcache::kernels {

template <typename T, typename Shape>
class TokensAttention {
 public:
  __device__ TokensAttention(const FusedStepArgs<T>& args, const FusedTokensInputs& inputs,
                             int block)
      : args_(args),
        inputs_(inputs),
        number_(block / (Shape::kHeads * Shape::kSplits)),
        head_(block / Shape::kSplits % Shape::kHeads),
        split_(block % Shape::kSplits),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32) {}

  /// Where the warp's positions lie; once.
  __device__ void locate() {
    const FusedToken& token = inputs_.tokens[number_];
    const int past = token.past_length;
    const int share = (past + Shape::kSplits * kUnit - 1) / (Shape::kSplits * kUnit) * kUnit;
    first_ = split_ * share + warp_ * kUnit;
    end_ = min((split_ + 1) * share, past);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      rows_[u] = first_ + u * kApart < end_ ? row_of(first_ + u * kApart) : 0;
    }
    append_row_ = row_of(token.append_at);
  }

  [[nodiscard]] __device__ bool takes_part() const { return number_ < inputs_.count; }

  /// Starts to load the first positions of a layer's past.
  __device__ void prefetch(int layer) {
    scale_ = args_.scales[layer] * kLog2E;
    keys_of_layer_ = args_.pools[2 * layer];
    values_of_layer_ = args_.pools[2 * layer + 1];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first_ + u * kApart < end_) {
        load(u, first_ + u * kApart, rows_[u]);
      }
    }
  }

  /// Waits for the query, attends, appends the new key and value, and hands over the softmax.
  __device__ void run(unsigned* exchange, FusedShared& shared) {
    constexpr int kQkv = 3 * Shape::kHidden / 2;
    const unsigned* qkv = exchange + Shape::exchange().qkv() + head_ * (kFusedHeadDim / 2);
    Softmax softmax;
    const bool sees_new = split_ == Shape::kSplits - 1 && warp_ == kFusedWarps - 1;
    if (first_ < end_ || sees_new) {
      const Arriving<9> words = receive_query(qkv + number_ * kQkv, sees_new);
      attend(words, 0, softmax);
      // What was not on its way already.
      for (int first = first_ + kUnits * kApart; first < end_; first += kUnits * kApart) {
#pragma unroll
        for (int u = 0; u < kUnits; ++u) {
          if (first + u * kApart < end_) {
            load(u, first + u * kApart, row_of(first + u * kApart));
          }
        }
        attend(words, first - first_, softmax);
      }
      softmax.sum += __shfl_xor_sync(kAllLanes, softmax.sum, 1);
      softmax.sum += __shfl_xor_sync(kAllLanes, softmax.sum, 2);
      if (sees_new) {
        see_new_tokens(words.words[8], qkv, softmax);
      }
    }
    shared.values[warp_][lane_] = softmax.value;
    if (lane_ == 0) {
      shared.softmaxes[warp_] = {softmax.max, softmax.sum};
    }
    __syncthreads();
    if (warp_ == 0) {
      merge(exchange, shared);
    }
  }

 private:
  static constexpr int kUnit = 8;  // positions of a warp; they lie in one block of the cache
  static constexpr int kApart = kUnit * kFusedWarps;
  static constexpr int kUnits = 3;
  static constexpr float kLog2E = 1.4426950408889634F;

  /// A warp's, of what it has seen: `sum` in parts in lanes 0 … 3, a pair of elements in each.
  struct Softmax {
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
  };

  /// Where a position of the row lies in a pool, in rows of head_dim.
  [[nodiscard]] __device__ unsigned row_of(int position) const {
    const int number = position >> args_.block_len_shift;
    const auto block =
        static_cast<unsigned>(inputs_.block_table[inputs_.tokens[number_].table_at + number]);
    return ((block * Shape::kHeads + static_cast<unsigned>(head_)) << args_.block_len_shift) +
           static_cast<unsigned>(position - (number << args_.block_len_shift));
  }

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

  /// Words 0 … 7: eight neighbouring elements of the query's both halves, in lanes 0 … 3. For the
  /// warp that sees the new tokens, word 8: a pair of the query in every lane.
  __device__ Arriving<9> receive_query(const unsigned* query, bool sees_new) const {
    pause(kCyclesOnTheWay);
    return receive<9>([&](Arriving<9>& to) {
      if (lane_ < 4) {
        to.template poll_four<0>(query + lane_ * 4);
        to.template poll_four<4>(query + 16 + lane_ * 4);
      }
      if (sees_new) {
        to.template poll_one<8>(query + lane_);
      }
    });
  }

  /// To the positions that are loaded, `from` behind the first ones.
  __device__ void attend(const Arriving<9>& arrived, int from, Softmax& softmax) const {
    const auto& words = arrived.words;
    const uint4 query[2] = {{words[0], words[1], words[2], words[3]},
                            {words[4], words[5], words[6], words[7]}};
    const int begin = first_ + from;
    // Lanes 0 … 3 have the scores of two positions each.
    float weights[kUnits][2];
    float max = -FLT_MAX;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int first = begin + u * kApart;
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
    softmax.raise(__shfl_sync(kAllLanes, max, 0));
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (begin + u * kApart < end_) {
        weights[u][0] = exp2_of(weights[u][0] - softmax.max);
        weights[u][1] = exp2_of(weights[u][1] - softmax.max);
        softmax.sum += weights[u][0] + weights[u][1];
#pragma unroll
        for (int i = 0; i < kUnit; ++i) {
          const float weight = __shfl_sync(kAllLanes, weights[u][i % 2], i / 2);
          const float2 one = values_of<T>(values_[u][i]);
          softmax.value.x += weight * one.x;
          softmax.value.y += weight * one.y;
        }
      }
    }
  }

  /// What the token sees of the step's tokens, itself included, by one warp.
  __device__ void see_new_tokens(unsigned query, const unsigned* qkv, Softmax& softmax) const {
    constexpr int kPart = Shape::kHidden / 2;
    const FusedToken& token = inputs_.tokens[number_];
#pragma unroll 1
    for (unsigned left = token.sees; left != 0; left &= left - 1) {
      const int number = lowest(left);
      const unsigned* from = qkv + number * 3 * kPart + lane_;
      const auto arrived = receive<2>([&](Arriving<2>& to) {
        to.template poll_one<0>(from + kPart);
        to.template poll_one<1>(from + 2 * kPart);
      });
      if (number == number_) {
        reinterpret_cast<unsigned*>(keys_of_layer_)[pair_of_row(append_row_)] = arrived.words[0];
        reinterpret_cast<unsigned*>(values_of_layer_)[pair_of_row(append_row_)] = arrived.words[1];
      }
      see(query, arrived.words[0], arrived.words[1], softmax);
    }
  }

  [[nodiscard]] __device__ static int lowest(unsigned bits) {
    return __ffs(static_cast<int>(bits)) - 1;
  }

  /// Where the lane's pair of elements lies in a pool.
  [[nodiscard]] __device__ std::int64_t pair_of_row(unsigned row) const {
    return std::int64_t{row} * (kFusedHeadDim / 2) + lane_;
  }

  /// One position more: a pair of elements of query, key and value per lane.
  __device__ void see(unsigned query, unsigned key, unsigned value, Softmax& softmax) const {
    const float2 q = values_of<T>(query);
    const float2 k = values_of<T>(key);
    const float2 v = values_of<T>(value);
    const float score = sum_of_lanes(q.x * k.x + q.y * k.y) * scale_;
    softmax.raise(score);
    const float weight = exp2_of(score - softmax.max);
    softmax.sum += weight;
    softmax.value = {softmax.value.x + weight * v.x, softmax.value.y + weight * v.y};
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
    const int part = (number_ * Shape::kHeads + head_) * Shape::kSplits + split_;
    broadcast<Shape>(exchange + Shape::exchange().attention() + part * (kFusedHeadDim / 2) + lane_,
                     pair_of<T>(value.x * scale, value.y * scale));
    if (Shape::kSplits > 1 && lane_ < 2) {
      broadcast<Shape>(exchange + Shape::exchange().softmaxes() + 2 * part + lane_,
                       lane_ == 0 ? max : sum);
    }
  }

  const FusedStepArgs<T>& args_;
  const FusedTokensInputs& inputs_;
  int number_;  // of the token
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

/// A head's attention of each of `tokens` tokens, from its splits' softmaxes, given to
/// `put(token, pair)`: a pair of elements per lane. By all warps of the block, of which each has a
/// head, or -1.
template <typename T, typename Shape, typename Put>
__device__ void receive_attention_of_tokens(const unsigned* exchange, int head, int tokens,
                                            const Put& put) {
  constexpr int kSplits = Shape::kSplits;
  constexpr int kPerToken = kSplits + (kSplits > 1 ? 2 : 0);
  constexpr int kWords = Shape::kTokens * kPerToken;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto arriving = receive_together<kWords>([&](Arriving<kWords>& to) {
    poll_each<Shape::kTokens>([&](auto token) {
      if (head < 0 || token >= tokens) {
        return;
      }
      constexpr int kAt = decltype(token)::value * kPerToken;
      const int part = (token * Shape::kHeads + head) * kSplits;
      const unsigned* values =
          exchange + Shape::exchange().attention() + part * (kFusedHeadDim / 2) + lane;
      poll_each<kSplits>([&](auto split) {
        constexpr int kSplit = decltype(split)::value;
        to.template poll_one<kAt + kSplit>(values + kSplit * (kFusedHeadDim / 2));
      });
      if constexpr (kSplits > 1) {
        to.template poll_two<kAt + kSplits>(exchange + Shape::exchange().softmaxes() +
                                            2 * (part + lane % kSplits));
      }
    });
  });
  if (head < 0) {
    return;
  }
#pragma unroll
  for (int token = 0; token < Shape::kTokens; ++token) {
    const unsigned* words = arriving.words + token * kPerToken;
    float2 value{0.0F, 0.0F};
    if constexpr (kSplits == 1) {
      value = values_of<T>(words[0]);
    } else {
      // Lane l has split l % kSplits.
      const float own = __uint_as_float(words[kSplits]);
      float max = own;
#pragma unroll
      for (int offset = 1; offset < kSplits; offset *= 2) {
        max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, offset));
      }
      const float weight = exp2_of(own - max) * __uint_as_float(words[kSplits + 1]);
      const float share = __fdividef(weight, sum_of_lanes<kSplits>(weight));
#pragma unroll
      for (int split = 0; split < kSplits; ++split) {
        const float of_split = __shfl_sync(kAllLanes, share, split);
        const float2 pair = values_of<T>(words[split]);
        value.x += of_split * pair.x;
        value.y += of_split * pair.y;
      }
    }
    if (token < tokens) {
      put(token, value);
    }
  }
}

}  // namespace kvcache::kernels
