// The matrix product of matrix_tile-inl.hpp for two matrices of bfloat16, where the processor
// multiplies pairs of them: twice the products of an instruction.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_BFLOAT16_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_BFLOAT16_TILE_INL_HPP_
#undef KVCACHE_KERNELS_BFLOAT16_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_BFLOAT16_TILE_INL_HPP_
#endif

#include <cstdint>
#include <cstring>

#include "base/float16.hpp"
#include "hwy/highway.h"
#include "kernels/cpu/matrix_tile-inl.hpp"
#include "kernels/cpu/prefetch-inl.hpp"

// Targets are numbered from the best on. None of Highway 1.0's has the instruction for certain:
// has_bfloat16_dot() asks the processor.
#undef KVCACHE_BFLOAT16_DOT
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
#define KVCACHE_BFLOAT16_DOT 1
#else
#define KVCACHE_BFLOAT16_DOT 0
#endif

#if KVCACHE_BFLOAT16_DOT
HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline bool has_bfloat16_dot() {
  static const bool has = __builtin_cpu_supports("avx512bf16") != 0;
  return has;
}

using PairTag = hn::ScalableTag<std::uint32_t>;  // two bfloat16 a lane, the first one below

/// sums + Σ a · b over the two bfloat16 of each lane.
HWY_INLINE hn::Vec<hn::ScalableTag<float>> add_pair_products(hn::Vec<hn::ScalableTag<float>> sums,
                                                             hn::Vec<PairTag> a,
                                                             hn::Vec<PairTag> b) {
  // Highway 1.0 does not tell the compiler of the instruction, which then refuses the intrinsic.
  asm("vdpbf16ps %2, %1, %0" : "+v"(sums.raw) : "v"(a.raw), "v"(b.raw));
  return sums;
}

/// The first kCount of two neighbours, and 0 for the rest, for every lane.
template <std::size_t kCount>
HWY_INLINE hn::Vec<PairTag> broadcast_pair(const BFloat16* from) {
  std::uint32_t pair = 0;
  std::memcpy(&pair, from, kCount * sizeof *from);
  return hn::Set(PairTag(), pair);
}

/// `depth` rows of a panel, [depth, kTileColumns], as pairs of rows, [⌈depth / 2⌉, kTileColumns]:
/// the second of a last, odd row is 0.
HWY_INLINE void pair_rows(const BFloat16* HWY_RESTRICT rows, std::int64_t depth,
                          std::uint32_t* HWY_RESTRICT pairs) {
  const PairTag d;
  const hn::Rebind<std::uint16_t, PairTag> half;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto* from = reinterpret_cast<const std::uint16_t*>(rows);
  for (std::int64_t k = 0; k < depth; k += 2) {
    for (std::int64_t column = 0; column < kTileColumns; column += lanes) {
      auto pair = hn::PromoteTo(d, hn::LoadU(half, from + column));
      if (k + 1 < depth) {
        const auto second = hn::PromoteTo(d, hn::LoadU(half, from + kTileColumns + column));
        pair = hn::Or(pair, hn::ShiftLeft<16>(second));
      }
      hn::Store(pair, d, pairs + column);
    }
    from += 2 * kTileColumns;
    pairs += kTileColumns;
  }
}

/// The left matrix of a product, whose rows are `row_stride` elements apart.
struct LeftBFloat16 {
  const BFloat16* data;
  std::int64_t row_stride;
};

/// The products of kCount elements of each row, from k on, with the pair of rows of `right` there.
template <std::size_t kCount, int kRows, int kVectors>
HWY_INLINE void add_products(const LeftBFloat16& left, std::int64_t k,
                             const std::uint32_t* HWY_RESTRICT right,
                             hn::Vec<hn::ScalableTag<float>> (&sums)[kRows][kVectors]) {
  const PairTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<PairTag> columns[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    columns[v] = hn::LoadU(d, right + k / 2 * kTileColumns + v * lanes);
  }
  for (int r = 0; r < kRows; ++r) {
    const auto pair = broadcast_pair<kCount>(left.data + r * left.row_stride + k);
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = add_pair_products(sums[r][v], columns[v], pair);
    }
  }
}

/// One register tile: kRows rows and kVectors vectors of columns of `multiply_pairs`.
template <int kRows, int kVectors, class What>
HWY_INLINE void multiply_pairs_registers(const LeftBFloat16& left, std::int64_t depth,
                                         const std::uint32_t* HWY_RESTRICT right, bool carry,
                                         float* HWY_RESTRICT out, const What& ahead) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<decltype(d)> sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = carry ? hn::LoadU(d, out + r * kTileColumns + v * lanes) : hn::Zero(d);
    }
  }
  std::int64_t k = 0;
  for (; k + 2 <= depth; k += 2) {
    add_products<2>(left, k, right, sums);
    ahead.fetch(k / 2);
  }
  if (k < depth) {
    add_products<1>(left, k, right, sums);
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[r][v], d, out + r * kTileColumns + v * lanes);
    }
  }
}

/// kRows rows of `multiply_pairs`: column groups of kVectors vectors, then of fewer.
template <int kRows, int kVectors, class What>
HWY_INLINE void multiply_pairs_rows(const LeftBFloat16& left, std::int64_t depth,
                                    const std::uint32_t* right, bool carry, float* out,
                                    std::int64_t columns, const What& ahead) {
  const auto group = kVectors * static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  for (; columns >= group; columns -= group) {
    multiply_pairs_registers<kRows, kVectors>(left, depth, right, carry, out, ahead);
    right += group;
    out += group;
  }
  if constexpr (kVectors > 1) {
    multiply_pairs_rows<kRows, kVectors - 1>(left, depth, right, carry, out, columns, ahead);
  }
}

/// out[r][c] = (carry ? out[r][c] : 0) + Σ_k left[r, k] · right[k][c] for r in [0, rows), c in
/// [0, columns), as `multiply`; k in pairs, as pair_rows makes them of `right`.
template <int kRows = kMaxRows, class What = NothingAhead>
HWY_INLINE void multiply_pairs(LeftBFloat16 left, std::int64_t rows, std::int64_t depth,
                               const std::uint32_t* right, bool carry, float* out,
                               std::int64_t columns, What ahead = {}) {
  for (; rows >= kRows; rows -= kRows) {
    multiply_pairs_rows<kRows, kMaxVectors>(left, depth, right, carry, out, columns, ahead);
    left.data += kRows * left.row_stride;
    out += kRows * kTileColumns;
    ahead = ahead.after((depth + 1) / 2);
  }
  if constexpr (kRows > 1) {
    multiply_pairs<kRows - 1>(left, rows, depth, right, carry, out, columns, ahead);
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
