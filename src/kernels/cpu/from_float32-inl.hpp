// float32 to 16 bits: what is kept or returned, rounded once.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_FROM_FLOAT32_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_FROM_FLOAT32_INL_HPP_
#undef KVCACHE_KERNELS_FROM_FLOAT32_INL_HPP_
#else
#define KVCACHE_KERNELS_FROM_FLOAT32_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/float16.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Elsewhere Highway 1.0's conversion to float16 cuts digits off instead of rounding.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
#define KVCACHE_ROUNDS_TO_FLOAT16 1
#else
#define KVCACHE_ROUNDS_TO_FLOAT16 0
#endif

/// float32 rounded to the nearest even bfloat16: the upper half of each float32. NaN becomes Ort's.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> round_to_bfloat16(D df, hn::Vec<D> value) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, value);
  const auto is_odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(bits, hn::Add(is_odd, hn::Set(du, 0x7FFF)));
  const auto upper = hn::And(rounded, hn::Set(du, 0xFFFF0000));
  const auto is_nan = hn::RebindMask(du, hn::Ne(value, value));
  static_cast<void>(df);
  return hn::IfThenElse(is_nan, hn::Set(du, 0x7FC10000), upper);
}

/// float32 to T, rounded to nearest even; beyond T's range to infinity.
template <typename T>
HWY_INLINE void from_float32(const float* HWY_RESTRICT from, std::int64_t count,
                             T* HWY_RESTRICT to) {
  std::int64_t i = 0;
#if KVCACHE_ROUNDS_TO_FLOAT16
  if constexpr (std::is_same_v<T, Float16>) {
    const hn::ScalableTag<float> df;
    const hn::Rebind<hwy::float16_t, decltype(df)> half_tag;
    const hn::Rebind<std::uint16_t, decltype(df)> bits_tag;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
    for (; i + lanes <= count; i += lanes) {
      const auto half = hn::DemoteTo(half_tag, hn::LoadU(df, from + i));
      hn::StoreU(hn::BitCast(bits_tag, half), bits_tag, reinterpret_cast<std::uint16_t*>(to + i));
    }
  }
#endif
  if constexpr (std::is_same_v<T, BFloat16>) {
    const hn::ScalableTag<float> df;
    const hn::RebindToSigned<decltype(df)> di;
    const hn::Rebind<std::uint16_t, decltype(df)> bits_tag;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
    for (; i + lanes <= count; i += lanes) {
      const auto upper = hn::ShiftRight<16>(round_to_bfloat16(df, hn::LoadU(df, from + i)));
      hn::StoreU(hn::DemoteTo(bits_tag, hn::BitCast(di, upper)), bits_tag,
                 reinterpret_cast<std::uint16_t*>(to + i));
    }
  }
  std::transform(from + i, from + count, to + i, [](float value) { return T(value); });
}

#undef KVCACHE_ROUNDS_TO_FLOAT16

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
