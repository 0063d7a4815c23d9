// Rotary position embedding of one head's query or key.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ROTARY_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ROTARY_INL_HPP_
#undef KVCACHE_KERNELS_ROTARY_INL_HPP_
#else
#define KVCACHE_KERNELS_ROTARY_INL_HPP_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/rms_norm-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Turns pairs of vectors: (a cos − b sin, b cos + a sin).
template <class D>
HWY_INLINE void turn(D d, const float* cos, const float* sin, float* one, float* other) {
  const auto a = hn::LoadU(d, one);
  const auto b = hn::LoadU(d, other);
  const auto c = hn::LoadU(d, cos);
  const auto s = hn::LoadU(d, sin);
  hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, one);
  hn::StoreU(hn::MulAdd(b, c, hn::Mul(a, s)), d, other);
}

/// Turns the pairs of x's first rotary.dims elements by the angles of a position.
HWY_INLINE void rotate(const Rotary& rotary, std::int64_t position, float* x) {
  const hn::ScalableTag<float> d;
  constexpr auto kMostLanes = static_cast<std::int64_t>(hn::MaxLanes(d));
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t half = rotary.dims / 2;
  const float* const cos = rotary.cos + position * half;
  const float* const sin = rotary.sin + position * half;
  // Neighbours come apart for it, and pairs that do not fill a vector are filled up with zeros.
  const auto turn_copies = [&](std::int64_t first, std::int64_t count) HWY_ATTR {
    HWY_ALIGN float copies[4][kMostLanes] = {};
    const std::int64_t step = rotary.interleaved ? 2 : 1;
    float* const one = x + step * first;
    float* const other = rotary.interleaved ? one + 1 : one + half;
    for (std::int64_t i = 0; i < count; ++i) {
      copies[0][i] = one[step * i];
      copies[1][i] = other[step * i];
      copies[2][i] = cos[first + i];
      copies[3][i] = sin[first + i];
    }
    turn(d, copies[2], copies[3], copies[0], copies[1]);
    for (std::int64_t i = 0; i < count; ++i) {
      one[step * i] = copies[0][i];
      other[step * i] = copies[1][i];
    }
  };
  for_vectors(
      half,
      [&](auto i) HWY_ATTR {
        if (rotary.interleaved) {
          turn_copies(i, lanes);
        } else {
          turn(d, cos + i, sin + i, x + i, x + half + i);
        }
      },
      turn_copies);
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
