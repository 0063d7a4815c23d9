// The attention of a fused step of several tokens: a block per token, head and split of its past, a
// warp per eight positions. The first positions of each warp are on their way a layer ahead, before
// the query is known; those of longer pasts come as they are needed.
#pragma once

#include "kernels/cuda/fused_past.cuh"
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
        warp_(static_cast<int>(threadIdx.x) / 32),
        past_(lane_) {}

  /// Where the warp's positions lie; once.
  __device__ void locate() {
    const FusedToken& token = inputs_.tokens[number_];
    past_.locate(token.past_length, split_, Shape::kSplits, warp_,
                 [&](int position) { return row_of(position); });
    append_row_ = row_of(token.append_at);
  }

  [[nodiscard]] __device__ bool takes_part() const { return number_ < inputs_.count; }

  /// Starts to load the first positions of a layer's past.
  __device__ void prefetch(int layer) { past_.prefetch(args_, layer); }

  /// Waits for the query, attends, appends the new key and value, and hands over the softmax.
  __device__ void run(unsigned* exchange, FusedShared& shared) {
    constexpr int kQkv = 3 * Shape::kHidden / 2;
    const unsigned* qkv = exchange + Shape::exchange().qkv() + head_ * (kFusedHeadDim / 2);
    WarpSoftmax softmax;
    const bool sees_new = split_ == Shape::kSplits - 1 && warp_ == kFusedWarps - 1;
    if (past_.exists() || sees_new) {
      const Arriving<9> arrived = receive_query(qkv + number_ * kQkv, sees_new);
      const WarpQuery query = WarpQuery::of(arrived.words);
      attend(query, past_.first(), softmax);
      // What was not on its way already.
      for (int first = past_.first() + Past::kStep; first < past_.end(); first += Past::kStep) {
        past_.load_from(first, [&](int position) { return row_of(position); });
        attend(query, first, softmax);
      }
      softmax.join_sums();
      if (sees_new) {
        see_new_tokens(arrived.words[8], qkv, softmax);
      }
    }
    shared.values[warp_][lane_] = softmax.value;
    if (lane_ == 0) {
      shared.softmaxes[warp_] = {softmax.max, softmax.sum};
    }
    __syncthreads();
    if (warp_ == 0) {
      const int part = (number_ * Shape::kHeads + head_) * Shape::kSplits + split_;
      send_softmax<T, Shape>(exchange, shared, part, lane_);
    }
  }

 private:
  using Past = WarpPast<T, 3>;

  [[nodiscard]] __device__ unsigned row_of(int position) const {
    return row_of_pool<T, Shape>(args_, inputs_.block_table + inputs_.tokens[number_].table_at,
                                 head_, position);
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

  /// To the positions that are loaded, from `first` on.
  __device__ void attend(const WarpQuery& query, int first, WarpSoftmax& softmax) const {
    const auto scores = past_.score(query, first);
    softmax.raise(scores.max);
    past_.add(scores, first, softmax);
  }

  /// What the token sees of the step's tokens, itself included, by one warp.
  __device__ void see_new_tokens(unsigned query, const unsigned* qkv, WarpSoftmax& softmax) const {
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
        past_.append(append_row_, arrived.words[0], arrived.words[1]);
      }
      see(query, arrived.words[0], arrived.words[1], softmax);
    }
  }

  [[nodiscard]] __device__ static int lowest(unsigned bits) {
    return __ffs(static_cast<int>(bits)) - 1;
  }

  /// One position more: a pair of elements of query, key and value per lane.
  __device__ void see(unsigned query, unsigned key, unsigned value, WarpSoftmax& softmax) const {
    const float2 q = values_of<T>(query);
    const float2 k = values_of<T>(key);
    const float2 v = values_of<T>(value);
    const float score = sum_of_lanes(q.x * k.x + q.y * k.y) * past_.scale();
    softmax.raise(score);
    const float weight = exp2_of(score - softmax.max);
    softmax.sum += weight;
    softmax.value = {softmax.value.x + weight * v.x, softmax.value.y + weight * v.y};
  }

  const FusedStepArgs<T>& args_;
  const FusedTokensInputs& inputs_;
  int number_;  // of the token
  int head_;
  int split_;
  int lane_;
  int warp_;
  unsigned append_row_ = 0;
  Past past_;
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
      value = joined_splits<T, kSplits>(__uint_as_float(words[kSplits]),
                                        __uint_as_float(words[kSplits + 1]), words);
    }
    if (token < tokens) {
      put(token, value);
    }
  }
}

}  // namespace kvcache::kernels
