// Attention of a warp: 16 queries of a row and head over keys and values in the cache's blocks, in
// chunks of 16 positions that are on their way to the warp's shared memory before their turn.
#pragma once

#include <cfloat>

#include "kernels/cuda/fused_block.cuh"
#include "kernels/cuda/fused_rows.hpp"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {

__device__ inline void prefetch_line(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

/// What a warp knows of its 16 queries: lane = 4 · g + t has rows g and g + 8, of dims 8 · i + 2 ·
/// t and the next one.
template <int kHeadDim>
struct TileSoftmax {
  float max[2] = {-FLT_MAX, -FLT_MAX};
  float sum[2] = {};
  float value[kHeadDim / 8][4] = {};
};

/// The queries as the matrix instruction takes them, and which of their row's new tokens the two
/// rows of a lane see: a bit each.
template <int kHeadDim>
struct TileQueries {
  static constexpr int kParts = kHeadDim < 16 ? 1 : kHeadDim / 16;  // of 8, half a part is zero
  unsigned pairs[kParts][4];
  std::uint64_t sees[2];
};

/// A tile of queries and a head. The past comes in chunks of kKeys positions, then the row's new
/// tokens, by the eights of positions that they lie in. `kHeadDim` is 8, 16, 32 or 64; `kKeys` 16
/// or 32, of heads of 8 it is 32.
template <typename T, int kHeadDim, int kKeys = 16>
class HeadTile {
 public:
  static constexpr int kVectors = kHeadDim / 8;               // of a key, in 16 bytes
  static constexpr int kChunkVectors = 2 * kKeys * kVectors;  // keys, then values

  /// `table` is the row's block table; `scale` is of scores as powers of two.
  __device__ HeadTile(const RowsTile& tile, int head, int heads, const std::int32_t* table,
                      int block_len_shift, const T* keys, const T* values, float scale)
      : tile_(tile),
        head_(head),
        heads_(heads),
        table_(table),
        block_len_shift_(block_len_shift),
        keys_(keys),
        values_(values),
        scale_(scale),
        lane_(static_cast<int>(threadIdx.x) % 32),
        past_chunks_((tile.past_length + kKeys - 1) / kKeys) {
    static_assert(kHeadDim > 8 || kKeys == 32);
    const int new_eights = (tile.append_at + tile.row_tokens + 7) / 8 - tile.append_at / 8;
    chunks_ = past_chunks_ + (new_eights + kEights - 1) / kEights;
  }

  [[nodiscard]] __device__ const RowsTile& tile() const { return tile_; }
  [[nodiscard]] __device__ int head() const { return head_; }
  [[nodiscard]] __device__ int past_chunks() const { return past_chunks_; }
  [[nodiscard]] __device__ int chunks() const { return chunks_; }

  /// Where a position's key and value lie in the pools, in elements.
  [[nodiscard]] __device__ std::int64_t at(int position) const {
    const int number = position >> block_len_shift_;
    const std::int64_t block = table_[number];
    return (((block * heads_ + head_) << block_len_shift_) +
            (position - (number << block_len_shift_))) *
           kHeadDim;
  }

  /// A chunk's keys and values on their way to `to` [kChunkVectors].
  __device__ void bring(int chunk, uint4* to) const {
    constexpr int kRowsAtOnce = 32 / kVectors;
    const int vector = lane_ % kVectors;
    const int own_row = lane_ / kVectors;
#pragma unroll
    for (int row = 0; row < kKeys; row += max(kRowsAtOnce, 8)) {
      // Eight positions lie side by side; where a warp brings more rows at once, its lanes differ.
      const int eight = (row + (kRowsAtOnce > 8 ? own_row : 0)) / 8;
      const int position = position_of(chunk, eight);
      const bool has = exists_any(chunk, position);
      const std::int64_t from = has ? at(position) + own_row % 8 * kHeadDim + vector * 8 : 0;
#pragma unroll
      for (int i = 0; i < max(kRowsAtOnce, 8); i += kRowsAtOnce) {
        const bool there = has && exists(chunk, position + i + own_row % 8);
        uint4* own = to + vector_at(row + i + own_row, vector);
        copy_or_clear(own, keys_ + from + i * kHeadDim, there);
        copy_or_clear(own + kKeys * kVectors, values_ + from + i * kHeadDim, there);
      }
    }
  }

  /// Attends to a chunk that is there, as bring() left it at `chunk_vectors`.
  __device__ void attend(int chunk, const uint4* chunk_vectors,
                         const TileQueries<kHeadDim>& queries,
                         TileSoftmax<kHeadDim>& softmax) const {
    const uint4* const keys = chunk_vectors;
    const uint4* const values = chunk_vectors + kKeys * kVectors;
    float scores[kEights][4] = {};
    if constexpr (kHeadDim == 8) {  // dims 8 to 15 of the queries are zero
      unsigned key[4];
      load_matrices(keys + lane_, key);
#pragma unroll
      for (int eight = 0; eight < kEights; ++eight) {
        multiply_add<T>(scores[eight], queries.pairs[0], key[eight], 0);
      }
    }
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i) {
#pragma unroll
      for (int eight = 0; eight < kEights; eight += 2) {
        // Two eights, of both halves of 16 dims.
        unsigned key[4];
        load_matrices(
            keys + vector_at(8 * eight + lane_ % 8 + lane_ / 16 * 8, 2 * i + lane_ / 8 % 2), key);
        multiply_add<T>(scores[eight], queries.pairs[i], key[0], key[1]);
        multiply_add<T>(scores[eight + 1], queries.pairs[i], key[2], key[3]);
      }
    }
    if (kKeys * (chunk + 1) > tile_.past_length) {
      mask(chunk, queries.sees, scores);
    }
    unsigned weights[kEights / 2][4] = {};
    take<0>(scores, weights, softmax);
    if (tile_.count > 8) {  // of few queries, the second half is nobody's
      take<1>(scores, weights, softmax);
    }
    if constexpr (kHeadDim == 8) {
      unsigned value[4];
      load_transposed(reinterpret_cast<const T*>(values + lane_), value);
      multiply_add<T>(softmax.value[0], weights[0], value[0], value[1]);
      multiply_add<T>(softmax.value[0], weights[1], value[2], value[3]);
    }
#pragma unroll
    for (int eight = 0; eight < kEights; eight += 2) {
#pragma unroll
      for (int i = 0; i < kHeadDim / 16; ++i) {
        unsigned value[4];
        load_transposed(reinterpret_cast<const T*>(
                            values + vector_at(8 * eight + lane_ % 16, 2 * i + lane_ / 16)),
                        value);
        multiply_add<T>(softmax.value[2 * i], weights[eight / 2], value[0], value[1]);
        multiply_add<T>(softmax.value[2 * i + 1], weights[eight / 2], value[2], value[3]);
      }
    }
  }

  /// When all chunks are through, each lane has its rows' whole sums.
  __device__ static void finish(TileSoftmax<kHeadDim>& softmax) {
#pragma unroll
    for (float& sum : softmax.sum) {
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
    }
  }

 private:
  static constexpr int kEights = kKeys / 8;

  /// The first of the positions of one of a chunk's eights.
  [[nodiscard]] __device__ int position_of(int chunk, int eight) const {
    return 8 * (chunk < past_chunks_
                    ? kEights * chunk + eight
                    : tile_.append_at / 8 + kEights * (chunk - past_chunks_) + eight);
  }
  /// Whether there is a key at a position of it.
  [[nodiscard]] __device__ bool exists(int chunk, int position) const {
    return chunk < past_chunks_
               ? position < tile_.past_length
               : position >= tile_.append_at && position < tile_.append_at + tile_.row_tokens;
  }
  /// Whether there is one at any of the eight from `position` on.
  [[nodiscard]] __device__ bool exists_any(int chunk, int position) const {
    return position <
           (chunk < past_chunks_ ? tile_.past_length : tile_.append_at + tile_.row_tokens);
  }

  /// Vectors lie such that neither rows nor columns share banks.
  [[nodiscard]] __device__ static int vector_at(int row, int vector) {
    constexpr int kRowsOfLine = kVectors < 8 ? 8 / kVectors : 1;  // a line are all banks
    constexpr int kMask = kVectors < 8 ? kVectors - 1 : 7;
    return row * kVectors + (vector ^ (row / kRowsOfLine & kMask));
  }

  /// Scores of what a query does not see become the least.
  __device__ void mask(int chunk, const std::uint64_t (&sees)[2],
                       float (&scores)[kEights][4]) const {
#pragma unroll
    for (int j = 0; j < kEights; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int position = position_of(chunk, j) + 2 * (lane_ % 4) + i;
        const bool there = exists(chunk, position);
        const auto number = static_cast<unsigned>(position - tile_.append_at) & 63U;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const bool seen = there && (chunk < past_chunks_ || (sees[half] >> number & 1U) != 0);
          scores[j][2 * half + i] = seen ? scores[j][2 * half + i] : -FLT_MAX;
        }
      }
    }
  }

  /// Eight queries' scores to weights, and what was summed before to the new largest one.
  template <int kHalf>
  __device__ void take(const float (&scores)[kEights][4], unsigned (&weights)[kEights / 2][4],
                       TileSoftmax<kHeadDim>& softmax) const {
    // Products with -FLT_MAX would be infinite, and two of them no difference.
    const auto scaled = [&](float score) { return score == -FLT_MAX ? -FLT_MAX : score * scale_; };
    float own[kEights][2];
    float largest = -FLT_MAX;
#pragma unroll
    for (int eight = 0; eight < kEights; ++eight) {
      own[eight][0] = scaled(scores[eight][2 * kHalf]);
      own[eight][1] = scaled(scores[eight][2 * kHalf + 1]);
      largest = fmaxf(largest, fmaxf(own[eight][0], own[eight][1]));
    }
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    largest = fmaxf(largest, softmax.max[kHalf]);
    if (__any_sync(kAllLanes, largest > softmax.max[kHalf])) {
      const float factor = exp2_of(softmax.max[kHalf] - largest);
      softmax.max[kHalf] = largest;
      softmax.sum[kHalf] *= factor;
#pragma unroll
      for (auto& value : softmax.value) {
        value[2 * kHalf] *= factor;
        value[2 * kHalf + 1] *= factor;
      }
    }
#pragma unroll
    for (int eight = 0; eight < kEights; ++eight) {
#pragma unroll
      for (float& weight : own[eight]) {
        // Nothing that is seen is so small. Not a number stays so.
        weight = weight == -FLT_MAX ? 0.0F : exp2_of(weight - largest);
      }
      weights[eight / 2][eight % 2 * 2 + kHalf] = pair_of<T>(own[eight][0], own[eight][1]);
    }
#pragma unroll
    for (int eight = 0; eight < kEights; eight += 2) {
      softmax.sum[kHalf] +=
          (own[eight][0] + own[eight][1]) + (own[eight + 1][0] + own[eight + 1][1]);
    }
  }

  RowsTile tile_;
  int head_;
  int heads_;
  const std::int32_t* table_;
  int block_len_shift_;
  const T* keys_;
  const T* values_;
  float scale_;
  int lane_;
  int past_chunks_;
  int chunks_;
};

}  // namespace kvcache::kernels
