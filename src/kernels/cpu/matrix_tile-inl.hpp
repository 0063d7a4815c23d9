// The matrix product that everything bound by arithmetic is made of: tiles of 64 columns.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_
#undef KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>

#include "base/rounding.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/prefetch-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kTileColumns = 64;  // from one row to the next of `right` and `out`

// Register tile: kMaxRows × kMaxVectors sums stay in registers, of which AVX-512 and NEON have 32
// and the others 16.
inline constexpr int kMaxRows = 6;
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
inline constexpr int kMaxVectors = 4;
#else
inline constexpr int kMaxVectors = 2;
#endif

/// Vectors of a tile of `rows` rows: few rows take more, so that enough sums are added up at the
/// same time to hide how long one addition takes.
constexpr int tile_vectors(int rows) {
  return HWY_TARGET <= HWY_AVX3 || rows > 3 ? kMaxVectors : rows == 1 ? 4 * kMaxVectors : 4;
}

/// The left matrix of a product: rows of floats, `stride` floats apart.
struct LeftMatrix {
  const float* data;
  std::int64_t stride;

  [[nodiscard]] LeftMatrix from_row(std::int64_t row) const {
    return {data + row * stride, stride};
  }
  [[nodiscard]] LeftMatrix from_depth(std::int64_t k) const { return {data + k, stride}; }
};

// Loops over a tile's sums are unrolled by name: GCC keeps the sums in registers only if they are
// early on.

/// One register tile: kRows rows and kVectors vectors of columns of `multiply`. With each step,
/// `ahead_bytes` of memory from `ahead` on are fetched.
template <int kRows, int kVectors, bool kAhead, typename W>
HWY_INLINE void multiply_registers(const LeftMatrix& left, std::int64_t depth,
                                   const W* HWY_RESTRICT right, bool add, float* HWY_RESTRICT out,
                                   const std::byte* ahead, std::int64_t ahead_bytes) {
  const hn::ScalableTag<float> d;
  constexpr auto kWidth = static_cast<std::int64_t>(hn::MaxLanes(hn::ScalableTag<float>()));
  constexpr std::int64_t kLine = 64;
  constexpr std::int64_t kGroupBytes = kVectors * kWidth * std::int64_t{sizeof(float)};
  hn::Vec<decltype(d)> sums[kRows][kVectors];
  HWY_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = add ? hn::LoadU(d, out + r * kTileColumns + v * kWidth) : hn::Zero(d);
    }
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    hn::Vec<decltype(d)> columns[kVectors];
    HWY_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = load_float32(d, right + k * kTileColumns + v * kWidth);
    }
    if constexpr (kAhead) {
      HWY_UNROLL(4)
      for (std::int64_t line = 0; line < kGroupBytes; line += kLine) {
        hwy::Prefetch(ahead + k * ahead_bytes + line);
      }
    }
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      const auto scalar = hn::Set(d, left.data[r * left.stride + k]);
      HWY_UNROLL(16)
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = hn::MulAdd(scalar, columns[v], sums[r][v]);
      }
    }
  }
  HWY_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[r][v], d, out + r * kTileColumns + v * kWidth);
    }
  }
}

/// `rows` rows of `multiply`, at most kRows: one group of columns after the other.
template <bool kAhead, int kRows = kMaxRows, typename W>
HWY_INLINE void multiply_rows(const LeftMatrix& left, std::int64_t rows, std::int64_t depth,
                              const W* right, bool add, float* out, const NextPart& next) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      multiply_rows<kAhead, kRows - 1>(left, rows, depth, right, add, out, next);
      return;
    }
  }
  constexpr int kVectors = tile_vectors(kRows);
  constexpr auto kGroup =
      kVectors * static_cast<std::int64_t>(hn::MaxLanes(hn::ScalableTag<float>()));
  static_assert(kTileColumns % kGroup == 0);
  const std::int64_t ahead_bytes = next.row_bytes * kGroup / kTileColumns;
  for (std::int64_t column = 0; column < kTileColumns; column += kGroup) {
    multiply_registers<kRows, kVectors, kAhead>(left, depth, right + column, add, out + column,
                                                next.data + column / kGroup * depth * ahead_bytes,
                                                ahead_bytes);
  }
}

/// out[r][c] = Σ_k left[r, k] · right[k][c], added to what is there where `add`, for r in [0, rows)
/// and c in [0, kTileColumns): each sum in the order of k.
///
/// right may be of 16 bits; it is converted with each use. Every tile has `depth` rows to fetch
/// `next` with.
template <bool kAhead = false, typename W>
HWY_NOINLINE void multiply(LeftMatrix left, std::int64_t rows, std::int64_t depth, const W* right,
                           bool add, float* out, NextPart next = {}) {
  while (rows > 0) {
    // All tiles have about as many rows: small ones take longer.
    const std::int64_t some = divide_up(rows, divide_up(rows, std::int64_t{kMaxRows}));
    multiply_rows<kAhead>(left, some, depth, right, add, out, next);
    left = left.from_row(some);
    out += some * kTileColumns;
    next.data += depth * next.row_bytes;
    rows -= some;
  }
}

/// `count` columns rounded up to whole vectors.
HWY_INLINE std::int64_t whole_vectors(std::int64_t count) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  return round_up(count, lanes);
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
