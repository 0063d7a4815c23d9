// How a kernel walks the cache: positions of a row -> runs of consecutive vectors in pool blocks.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_KV_VIEW_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_KV_VIEW_INL_HPP_
#undef KVCACHE_KERNELS_KV_VIEW_INL_HPP_
#else
#define KVCACHE_KERNELS_KV_VIEW_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/prefetch-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

inline constexpr std::int64_t kPieceRows = 32;

/// Positions [begin, end) of a row, in the order of its tokens.
struct PositionRange {
  std::int64_t begin;
  std::int64_t end;
};

/// The keys (or values) of one head of one row: vectors of head_dim, of int8 with a scale behind
/// each.
template <typename T>
struct KvView {
  const T* pool;                    // [blocks, num_kv_heads, block_len, vector_elements]
  const std::int32_t* block_table;  // [blocks_per_row], of this row
  std::int64_t head;
  std::int64_t num_kv_heads;
  std::int64_t head_dim;
  std::int64_t block_len;

  [[nodiscard]] std::int64_t vector_elements() const { return head_dim + kScaleElements<T>; }

  [[nodiscard]] const T* at(std::int64_t position) const {
    const std::int64_t block = block_table[position / block_len];
    return pool +
           ((block * num_kv_heads + head) * block_len + position % block_len) * vector_elements();
  }

  /// Calls `visit(rows, count, first)` for each run of consecutive vectors in `range`; `first` is
  /// the run's first position counted from `range.begin`.
  template <typename Visit>
  HWY_INLINE void for_each_run(PositionRange range, const Visit& visit) const {
    for (std::int64_t position = range.begin; position < range.end;) {
      const std::int64_t count = std::min(range.end - position, block_len - position % block_len);
      visit(at(position), count, position - range.begin);
      position += count;
    }
  }

  /// The same in pieces of at most kPieceRows rows, and with each the memory to fetch while working
  /// on it: that of two pieces later, after the range's end that of `then`, vector by vector.
  /// Blocks lie scattered over the pool, and the processor's own prefetching starts anew in each.
  template <typename Visit>
  HWY_INLINE void for_each_piece(PositionRange range, const T* then, const Visit& visit) const {
    const std::int64_t last = range.end - 1;
    for (std::int64_t position = range.begin; position < range.end;) {
      const std::int64_t count =
          std::min({range.end - position, block_len - position % block_len, kPieceRows});
      const std::int64_t later = position + 2 * kPieceRows;
      const T* ahead = later <= last ? at(later) : then;
      visit(at(position), count, position - range.begin, Ahead<T>{ahead, vector_elements()});
      position += count;
    }
  }
};

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
