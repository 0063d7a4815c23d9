// The tiles of queries that attention_by_tile.cu goes through: which tokens, and how a block's
// warps share them.
#pragma once

#include "base/rounding.hpp"
#include "kernels/cuda/attention_rows.cuh"

namespace kvcache::kernels::query_tile {

constexpr int kQueriesOfWarp = 16;

/// How a block's warps share a tile: groups of 16 queries, times shares of each step's keys.
template <typename T, int kHeadDimension, int kTileQueries>
struct TileShape {
  static constexpr bool kShort = sizeof(T) == 2;                    // otherwise float32
  static constexpr int kVector = 16 / static_cast<int>(sizeof(T));  // elements of 16 bytes
  static constexpr int kHeadDim = kHeadDimension;
  static constexpr int kQueries = kTileQueries;
  static constexpr int kGroups = kQueries / kQueriesOfWarp;
  static constexpr int kShares = kGroups == 4 ? 2 : kHeadDim > 64 ? 4 : 8;
  static constexpr int kShareKeys = (kGroups == 1    ? 16
                                     : kHeadDim > 64 ? 32
                                                     : 64) /
                                    (kShort ? 1 : 2);
  static constexpr int kThreads = 32 * kGroups * kShares;
  static constexpr int kKeys = kShares * kShareKeys;  // of a step
  // From one query or key, and from one value, to the next in shared memory: without bank conflicts
  // for those that read them (query_tile_short.cuh, query_tile_split.cuh).
  static constexpr int kKeyStride = kShort ? kHeadDim + 8 : round_up(kHeadDim, 32) + 16;
  static constexpr int kValueStride = kShort ? kHeadDim + 8 : round_up(kHeadDim, 32) + 4;
  static constexpr int kVectors = kHeadDim / kVector;   // of a query, key or value
  static constexpr int kValuesAt = kKeys * kKeyStride;  // of a step, behind its keys
  static constexpr int kStepElements = kValuesAt + kKeys * kValueStride;
  static constexpr int kSumStride = kHeadDim + 4;  // floats of a query's values
};

/// The tile of a row that a block works on.
struct Tile {
  int row;
  int begin;  // of the row, among all tokens
  int first;  // token of the row
  int count;  // 0: there is no such tile
};

/// Rows are divided into tiles of their own, numbered one row after the other. A warp looks at 32
/// rows at once.
template <int kQueries, typename T>
__device__ Tile find_tile(const CachedAttentionArgs<T>& args, int number) {
  const auto tile_of = [&](int row, int begin, int end, int before) {
    const int first = (number - before) * kQueries;
    return Tile{row, begin, first, min(kQueries, end - begin - first)};
  };
  const auto rows = static_cast<int>(args.rows);
  if (args.row_offsets == nullptr) {
    const auto tokens = static_cast<int>(args.tokens_per_row);
    const int tiles = divide_up(tokens, kQueries);
    const int row = number / tiles;
    return row < rows ? tile_of(row, row * tokens, (row + 1) * tokens, row * tiles) : Tile{};
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int before = 0;
  for (int base = 0; base < rows; base += 32) {
    const int row = base + lane;
    const int begin = row < rows ? args.row_offsets[row] : 0;
    const int end = row < rows ? args.row_offsets[row + 1] : 0;
    const int tiles = divide_up(end - begin, kQueries);
    int upto = tiles;  // of the lanes up to this one
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(kAllLanes, upto, step);
      upto += lane >= step ? other : 0;
    }
    const int of_lane = before + upto - tiles;
    const unsigned found = __ballot_sync(kAllLanes, number >= of_lane && number < of_lane + tiles);
    if (found != 0) {
      const int from = __ffs(static_cast<int>(found)) - 1;
      return tile_of(base + from, __shfl_sync(kAllLanes, begin, from),
                     __shfl_sync(kAllLanes, end, from), __shfl_sync(kAllLanes, of_lane, from));
    }
    before += __shfl_sync(kAllLanes, upto, 31);
  }
  return {};
}

}  // namespace kvcache::kernels::query_tile
