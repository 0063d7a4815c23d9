// The past that a group of attention_by_token.cu attends to, on its way before the query is known.
#pragma once

#include <cstddef>

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/token_softmax.cuh"

namespace kvcache::kernels::token_attention {

/// Keys and values of up to kAhead positions of a group; zeros where there is none.
template <typename Args, typename Layout>
struct Positions {
  typename Layout::Kept keys[Layout::kAhead];
  typename Layout::Kept values[Layout::kAhead];

  /// Of the past: positions first, first + kGroups, …, those before `end`.
  __device__ void load(const Args& args, const RowOfPool& pool, int first, int end, int lane) {
    const int head_dim = static_cast<int>(args.head_dim);
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      const int position = first + i * Layout::kGroups;
      const bool exists = position < end;
      const std::int64_t from = exists ? pool.offset(position) : 0;
      Layout::load(args.key_pool + from, lane, head_dim, exists, keys[i]);
      Layout::load(args.value_pool + from, lane, head_dim, exists, values[i]);
    }
  }

  __device__ void attend(const Args& args, const float (&query)[Layout::kElements], int first,
                         int end, Softmax<Layout>& softmax) const {
    float scores[Layout::kAhead];
    float max = softmax.max;
    // All groups of a warp take part, and none goes another way: that would be more code.
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      scores[i] = sum_of_lanes<kGroupLanes>(dot_of_lane<Layout>(query, keys[i]));
    }
    if (args.rules.soft_cap > 0) {
#pragma unroll
      for (float& score : scores) {
        score = softly_capped(score, args.rules.soft_cap);
      }
    }
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      max = first + i * Layout::kGroups < end ? fmaxf(max, scores[i]) : max;
    }
    softmax.raise_max(max);
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      const float weight = __expf(scores[i] - max);
      softmax.add(first + i * Layout::kGroups < end ? weight : 0.0F, values[i]);
    }
  }
};

/// A group's share of the past, on its way in registers: every Layout::kGroups-th position from
/// `first` to before `end`.
template <typename Args, typename Layout>
class Past {
 public:
  static constexpr std::size_t kRingBytes = 0;

  __device__ Past(std::byte* /*shared*/, const Args& args, const RowOfPool& pool, int first,
                  int end, int lane)
      : args_(args), pool_(pool), first_(first), end_(end), lane_(lane) {
    positions_.load(args, pool, first, end, lane);
  }

  __device__ void attend(const float (&query)[Layout::kElements], Softmax<Layout>& softmax) {
    constexpr int kStride = Layout::kGroups * Layout::kAhead;
    const int group = static_cast<int>(threadIdx.x) / kGroupLanes;
#pragma unroll 1
    for (int base = first_; base - group < end_; base += kStride) {
      positions_.attend(args_, query, base, end_, softmax);
      positions_.load(args_, pool_, base + kStride, end_, lane_);
    }
  }

 private:
  const Args& args_;
  const RowOfPool& pool_;
  int first_;
  int end_;
  int lane_;
  Positions<Args, Layout> positions_;
};

/// The same through shared memory: a lane copies there what it reads itself, so that nobody waits
/// for a barrier.
template <typename Args, typename Layout>
class SharedPast {
 public:
  static constexpr int kBatches = 2;  // on their way

  /// [batches, kAhead, key or value, chunks, threads] of what a lane has at once.
  using Ring =
      Vector<typename Layout::Cache, Layout::kVector>[kBatches][Layout::kAhead][2][Layout::kChunks]
                                                     [Layout::kBlockThreads];

  static constexpr std::size_t kRingBytes = sizeof(Ring);

  __device__ SharedPast(std::byte* shared, const Args& args, const RowOfPool& pool, int first,
                        int end, int lane)
      : ring_(*reinterpret_cast<Ring*>(shared)),
        args_(args),
        pool_(pool),
        first_(first),
        end_(end),
        lane_(lane) {
#pragma unroll 1
    for (int batch = 0; batch < kBatches; ++batch) {
      copy(batch, first + batch * kStride);
    }
  }

  __device__ void attend(const float (&query)[Layout::kElements], Softmax<Layout>& softmax) {
    const int group = static_cast<int>(threadIdx.x) / kGroupLanes;
    int batch = 0;
#pragma unroll 1
    for (int base = first_; base - group < end_; base += kStride) {
      wait_for_copies_but<kBatches - 1>();
      Positions<Args, Layout> positions;
#pragma unroll
      for (int i = 0; i < Layout::kAhead; ++i) {
#pragma unroll
        for (int c = 0; c < Layout::kChunks; ++c) {
          positions.keys[i].chunks[c] = ring_[batch][i][0][c][threadIdx.x];
          positions.values[i].chunks[c] = ring_[batch][i][1][c][threadIdx.x];
        }
      }
      positions.attend(args_, query, base, end_, softmax);
      copy(batch, base + kBatches * kStride);
      batch = batch + 1 == kBatches ? 0 : batch + 1;
    }
  }

 private:
  static constexpr int kStride = Layout::kGroups * Layout::kAhead;

  /// A group of copies, also where there is nothing to copy; zeros where there is none for a lane.
  __device__ void copy(int batch, int base) {
    const int group = static_cast<int>(threadIdx.x) / kGroupLanes;
    if (base - group < end_) {
#pragma unroll
      for (int i = 0; i < Layout::kAhead; ++i) {
        const int position = base + i * Layout::kGroups;
        const bool is_there = position < end_;
        const std::int64_t from = is_there ? pool_.offset(position) : 0;
#pragma unroll
        for (int c = 0; c < Layout::kChunks; ++c) {
          const int element = Layout::element(lane_, c);
          const bool exists = is_there && element < static_cast<int>(args_.head_dim);
          const std::int64_t at = exists ? from + element : 0;
          copy_or_clear(&ring_[batch][i][0][c][threadIdx.x], args_.key_pool + at, exists);
          copy_or_clear(&ring_[batch][i][1][c][threadIdx.x], args_.value_pool + at, exists);
        }
      }
    }
    commit_copies();
  }

  Ring& ring_;
  const Args& args_;
  const RowOfPool& pool_;
  int first_;
  int end_;
  int lane_;
};

}  // namespace kvcache::kernels::token_attention
