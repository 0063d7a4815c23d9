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
#include <bit>
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
  // Of a power of two, as block lengths usually are; else −1. A tree's tokens are looked up one by
  // one, and a division would take as long as the score of a small head.
  int shift = std::has_single_bit(static_cast<std::uint64_t>(block_len))
                  ? std::countr_zero(static_cast<std::uint64_t>(block_len))
                  : -1;

  /// Which of the row's blocks a position lies in.
  [[nodiscard]] std::int64_t block_of(std::int64_t position) const {
    return shift >= 0 ? position >> shift : position / block_len;
  }
  /// Where in its block.
  [[nodiscard]] std::int64_t place_in_block(std::int64_t position) const {
    return position - block_of(position) * block_len;
  }

  [[nodiscard]] std::int64_t vector_elements() const { return head_dim + kScaleElements<T>; }

  [[nodiscard]] const T* at(std::int64_t position) const {
    const std::int64_t block = block_table[block_of(position)];
    return pool + ((block * num_kv_heads + head) * block_len + place_in_block(position)) *
                      vector_elements();
  }

  /// Calls `visit(rows, count, first)` for each run of consecutive vectors in `range`; `first` is
  /// the run's first position counted from `range.begin`.
  template <typename Visit>
  HWY_INLINE void for_each_run(PositionRange range, const Visit& visit) const {
    for (std::int64_t position = range.begin; position < range.end;) {
      const std::int64_t count =
          std::min(range.end - position, block_len - place_in_block(position));
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
          std::min({range.end - position, block_len - place_in_block(position), kPieceRows});
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
