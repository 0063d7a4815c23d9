// The attention of a fused step: a block per head and split of its past, a warp per eight
// positions. The past is on its way a layer ahead, before the query is known.
#pragma once

#include "kernels/cuda/fused_past.cuh"

namespace kvcache::kernels {

template <typename T, typename Shape>
class FusedAttention {
 public:
  __device__ FusedAttention(const FusedStepArgs<T>& args, int block)
      : args_(args),
        head_(block / Shape::kSplits),
        split_(block % Shape::kSplits),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32),
        past_(lane_) {}

  /// Where the warp's positions lie; once.
  __device__ void locate() {
    const int past = args_.inputs.past_length;
    past_.locate(past, split_, Shape::kSplits, warp_,
                 [&](int position) { return row_of(position); });
    append_row_ = row_of(past);
  }

  [[nodiscard]] __device__ bool takes_part() const { return head_ < Shape::kHeads; }

  /// Starts to load a layer's past.
  __device__ void prefetch(int layer) { past_.prefetch(args_, layer); }

  /// Waits for the query, attends, appends the new key and value, and hands over the softmax.
  __device__ void run(unsigned* exchange, FusedShared& shared) {
    const unsigned* qkv = exchange + Shape::exchange().qkv() + head_ * (kFusedHeadDim / 2);
    WarpSoftmax softmax;
    const bool appends = split_ == Shape::kSplits - 1 && warp_ == kFusedWarps - 1;
    if (past_.exists() || appends) {
      const Arriving<11> arrived = receive_query(qkv, appends);
      if (past_.exists()) {
        const auto scores = past_.score(WarpQuery::of(arrived.words), past_.first());
        softmax.max = scores.max;
        past_.add(scores, past_.first(), softmax);
        softmax.join_sums();
      }
      if (appends) {
        append(arrived.words[8], arrived.words[9], arrived.words[10], softmax);
      }
    }
    shared.values[warp_][lane_] = softmax.value;
    if (lane_ == 0) {
      shared.softmaxes[warp_] = {softmax.max, softmax.sum};
    }
    __syncthreads();
    if (warp_ == 0) {
      send_softmax<T, Shape>(exchange, shared, head_ * Shape::kSplits + split_, lane_);
    }
  }

 private:
  using Past = WarpPast<T, kMaxFusedContext / Shape::kSplits / WarpPast<T, 1>::kApart>;

  [[nodiscard]] __device__ unsigned row_of(int position) const {
    return row_of_pool<T, Shape>(args_, args_.inputs.block_table, head_, position);
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

  /// The new token, by one warp: a pair of elements per lane. The softmax's sum is that of lane 0.
  __device__ void append(unsigned query, unsigned key, unsigned own, WarpSoftmax& softmax) const {
    past_.append(append_row_, key, own);
    const float2 q = values_of<T>(query);
    const float2 k = values_of<T>(key);
    const float2 v = values_of<T>(own);
    const float score = sum_of_lanes(q.x * k.x + q.y * k.y) * past_.scale();
    const float raised = fmaxf(softmax.max, score);
    const float factor = exp2_of(softmax.max - raised);
    const float weight = exp2_of(score - raised);
    softmax.max = raised;
    softmax.sum = softmax.sum * factor + weight;
    softmax.value = {softmax.value.x * factor + weight * v.x,
                     softmax.value.y * factor + weight * v.y};
  }

  const FusedStepArgs<T>& args_;
  int head_;
  int split_;
  int lane_;
  int warp_;
  unsigned append_row_ = 0;
  Past past_;
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
  static_assert(Shape::kSplits == 4);
  return joined_splits<T, Shape::kSplits>(__uint_as_float(arriving.words[0]),
                                          __uint_as_float(arriving.words[1]), arriving.words + 2);
}

}  // namespace kvcache::kernels
