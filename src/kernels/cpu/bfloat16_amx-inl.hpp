// The product of bfloat16_tile-inl.hpp in tiles: sixteen times the products of an instruction.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_BFLOAT16_AMX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_BFLOAT16_AMX_INL_HPP_
#undef KVCACHE_KERNELS_BFLOAT16_AMX_INL_HPP_
#else
#define KVCACHE_KERNELS_BFLOAT16_AMX_INL_HPP_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/amx.hpp"
#include "kernels/cpu/bfloat16_tile-inl.hpp"
#include "kernels/cpu/prefetch-inl.hpp"

#undef KVCACHE_BFLOAT16_AMX
#if HWY_ARCH_X86_64 && KVCACHE_BFLOAT16_DOT
#define KVCACHE_BFLOAT16_AMX 1
#else
#define KVCACHE_BFLOAT16_AMX 0
#endif

#if KVCACHE_BFLOAT16_AMX
HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

/// Elements of a tile's row on the left; rows of its pairs on the right are half of that.
inline constexpr std::int64_t kAmxDepth = AmxTiles::kRowBytes / 2;

/// 16 · kHigh rows and 16 · kWide columns of `multiply_pairs_amx`.
template <int kHigh, int kWide>
HWY_INLINE void multiply_pairs_in_tiles(const LeftBFloat16& left, std::int64_t depth,
                                        const std::uint32_t* right, bool carry, float* out) {
  constexpr std::int64_t kRows = AmxTiles::kRows;
  constexpr std::int64_t kStride = kTileColumns * 4;  // of sums and of pairs
  const std::int64_t left_stride = left.row_stride * 2;
  float* lower = out + kRows * kTileColumns;
  const auto for_sums = [&](const auto& work) HWY_ATTR {
    work(std::integral_constant<int, 0>(), out);
    if constexpr (kWide == 2) {
      work(std::integral_constant<int, 1>(), out + kRows);
    }
    if constexpr (kHigh == 2) {
      work(std::integral_constant<int, 2>(), lower);
    }
    if constexpr (kHigh == 2 && kWide == 2) {
      work(std::integral_constant<int, 3>(), lower + kRows);
    }
  };
  for_sums([&](auto tile, float* at) HWY_ATTR {
    if (carry) {
      AmxTiles::load<tile>(at, kStride);
    } else {
      AmxTiles::zero<tile>();
    }
  });
  for (std::int64_t k = 0; k < depth; k += kAmxDepth) {
    const std::uint32_t* pairs = right + k / 2 * kTileColumns;
    AmxTiles::load<4>(left.data + k, left_stride);
    AmxTiles::load<6>(pairs, kStride);
    AmxTiles::add_bfloat16<0, 4, 6>();
    if constexpr (kWide == 2) {
      AmxTiles::load<7>(pairs + kRows, kStride);
      AmxTiles::add_bfloat16<1, 4, 7>();
    }
    if constexpr (kHigh == 2) {
      AmxTiles::load<5>(left.data + kRows * left.row_stride + k, left_stride);
      AmxTiles::add_bfloat16<2, 5, 6>();
    }
    if constexpr (kHigh == 2 && kWide == 2) {
      AmxTiles::add_bfloat16<3, 5, 7>();
    }
  }
  for_sums([](auto tile, float* at) HWY_ATTR { AmxTiles::store<tile>(at, kStride); });
}

/// 16 · kHigh rows of `multiply_pairs_amx`.
template <int kHigh, class What>
HWY_INLINE void multiply_rows_in_tiles(const LeftBFloat16& left, std::int64_t depth,
                                       const std::uint32_t* right, bool carry, float* out,
                                       std::int64_t columns, const What& ahead) {
  constexpr std::int64_t kColumns = AmxTiles::kRows;
  std::int64_t column = 0;
  for (; column + 2 * kColumns <= columns; column += 2 * kColumns) {
    ahead.fetch(column / kColumns);
    ahead.fetch(column / kColumns + 1);
    multiply_pairs_in_tiles<kHigh, 2>(left, depth, right + column, carry, out + column);
  }
  if (column < columns) {
    ahead.fetch(column / kColumns);
    multiply_pairs_in_tiles<kHigh, 1>(left, depth, right + column, carry, out + column);
  }
}

/// `multiply_pairs` for rows and columns that are multiples of 16 and a depth that is one of
/// kAmxDepth, between AmxTiles(64) and its end. `ahead` is fetched with every 16 columns of up to
/// 32 rows.
template <class What>
HWY_INLINE void multiply_pairs_amx(LeftBFloat16 left, std::int64_t rows, std::int64_t depth,
                                   const std::uint32_t* right, bool carry, float* out,
                                   std::int64_t columns, What ahead) {
  constexpr std::int64_t kRows = 2 * AmxTiles::kRows;
  std::int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    multiply_rows_in_tiles<2>(left, depth, right, carry, out, columns, ahead);
    left.data += kRows * left.row_stride;
    out += kRows * kTileColumns;
    ahead = ahead.after(columns / AmxTiles::kRows);
  }
  if (row < rows) {
    multiply_rows_in_tiles<1>(left, depth, right, carry, out, columns, ahead);
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
