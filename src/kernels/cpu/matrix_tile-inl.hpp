// The matrix product that everything bound by arithmetic is made of: tiles of 64 columns.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_
#undef KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_MATRIX_TILE_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "base/rounding.hpp"
#include "hwy/highway.h"
#include "kernels/cpu/prefetch-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kTileColumns = 64;  // from one row to the next of `right` and `out`

// Register tile: kMaxRows × kMaxVectors sums stay in registers, of which AVX-512 and NEON have 32
// and the others 16. A single row takes as many vectors as a tile has, to be one stream of memory.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
inline constexpr int kMaxRows = 6;
inline constexpr int kMaxVectors = 4;
#else
inline constexpr int kMaxRows = 6;
inline constexpr int kMaxVectors = 2;
#endif
inline constexpr int kMaxVectorsOfOneRow = kMaxVectors * (HWY_TARGET <= HWY_AVX3 ? 1 : 4);

/// The left matrix of a product: element [r, k] is at data[r · row_stride + k · depth_stride].
struct LeftMatrix {
  const float* data;
  std::int64_t row_stride;
  std::int64_t depth_stride;

  [[nodiscard]] LeftMatrix from_row(std::int64_t row) const {
    return {data + row * row_stride, row_stride, depth_stride};
  }
  [[nodiscard]] LeftMatrix from_depth(std::int64_t k) const {
    return {data + k * depth_stride, row_stride, depth_stride};
  }
};

/// One register tile: kRows rows and kVectors vectors of columns of `multiply`.
template <int kRows, int kVectors, typename W, class What>
HWY_INLINE void multiply_registers(const LeftMatrix& left, std::int64_t depth,
                                   const W* HWY_RESTRICT right, const float* carry,
                                   float* HWY_RESTRICT out, const What& ahead) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<decltype(d)> sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = carry == nullptr ? hn::Zero(d)
                                    : hn::Mul(hn::LoadU(d, carry + v * lanes),
                                              hn::LoadU(d, out + r * kTileColumns + v * lanes));
    }
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    hn::Vec<decltype(d)> columns[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = load_float32(d, right + k * kTileColumns + v * lanes);
    }
    ahead.fetch(k);
    for (int r = 0; r < kRows; ++r) {
      const auto scalar = hn::Set(d, left.data[r * left.row_stride + k * left.depth_stride]);
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = hn::MulAdd(scalar, columns[v], sums[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[r][v], d, out + r * kTileColumns + v * lanes);
    }
  }
}

/// kRows rows of `multiply`: column groups of kVectors vectors, then of fewer.
template <int kRows, int kVectors, typename W, class What>
HWY_INLINE void multiply_rows(const LeftMatrix& left, std::int64_t depth, const W* right,
                              const float* carry, float* out, std::int64_t columns,
                              const What& ahead) {
  const auto group = kVectors * static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  for (; columns >= group; columns -= group) {
    multiply_registers<kRows, kVectors>(left, depth, right, carry, out, ahead);
    right += group;
    out += group;
    carry = carry == nullptr ? nullptr : carry + group;
  }
  if constexpr (kVectors > 1) {
    multiply_rows<kRows, kVectors - 1>(left, depth, right, carry, out, columns, ahead);
  }
}

/// out[r][c] = carry[c] · out[r][c] + Σ_k left[r, k] · right[k][c] for r in [0, rows), c in
/// [0, columns). A null carry means 0: out is overwritten.
///
/// right and out have kTileColumns columns, of which the first `columns` are computed: a multiple
/// of the vector's lanes. right may be of 16 bits; it is converted with each use. carry: [columns].
template <int kRows = kMaxRows, typename W, class What = NothingAhead>
HWY_INLINE void multiply(LeftMatrix left, std::int64_t rows, std::int64_t depth, const W* right,
                         const float* carry, float* out, std::int64_t columns, What ahead = {}) {
  constexpr int kVectors = kRows == 1 ? kMaxVectorsOfOneRow : kMaxVectors;
  for (; rows >= kRows; rows -= kRows) {
    multiply_rows<kRows, kVectors>(left, depth, right, carry, out, columns, ahead);
    left = left.from_row(kRows);
    out += kRows * kTileColumns;
    ahead = ahead.after(depth);
  }
  if constexpr (kRows > 1) {
    multiply<kRows - 1>(left, rows, depth, right, carry, out, columns, ahead);
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
