// The softmax of an attention and the values that it weighs, in one order of additions whoever adds
// up: one query, or a tile of them (attend_query-inl.hpp, attend_tile-inl.hpp).
//
// The order goes by a token's position in its text, wherever it lies in memory. Exponentials are
// relative to the largest score. Those of positions that are equal modulo the lanes of a vector are
// one sum; these sums are halved until one is left. The values of even positions are one sum and
// those of odd ones another, by fused multiplications and additions; the sum of both is multiplied
// by the inverse of the exponentials' sum.
//
// A position that a query must not see has the weight 0, which changes no bit of a sum.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ORDERED_SOFTMAX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ORDERED_SOFTMAX_INL_HPP_
#undef KVCACHE_KERNELS_ORDERED_SOFTMAX_INL_HPP_
#else
#define KVCACHE_KERNELS_ORDERED_SOFTMAX_INL_HPP_
#endif

#include <cstdint>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/ordered_dots-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Halves `kLanes` sums until one is left, in sums[0].
HWY_INLINE void halve(float* sums) {
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t i = 0; i < half; ++i) {
      sums[i] += sums[i + half];
    }
  }
}

/// The same of `kLanes` rows of sums, one below the other: the result is in the first row.
HWY_INLINE void halve_rows(float* sums, std::int64_t stride, std::int64_t columns) {
  const Floats d;
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t i = 0; i < half; ++i) {
      float* const upper = sums + i * stride;
      for (std::int64_t q = 0; q < columns; q += kLanes) {
        hn::StoreU(hn::Add(hn::LoadU(d, upper + q), hn::LoadU(d, upper + half * stride + q)), d,
                   upper + q);
      }
    }
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
