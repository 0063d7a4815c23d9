// 16-bit elements to float32 and back.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_OPS_WIDEN_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_OPS_WIDEN_INL_HPP_
#undef KVCACHE_OPS_WIDEN_INL_HPP_
#else
#define KVCACHE_OPS_WIDEN_INL_HPP_
#endif

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::ops::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// A vector of float32, float16 or bfloat16, as float32, exactly.
template <class D, typename T>
HWY_INLINE hn::Vec<D> load_widened(D df, const T* HWY_RESTRICT from) {
  if constexpr (std::is_same_v<T, float>) {
    return hn::LoadU(df, from);
  } else {
    const hn::Rebind<std::uint16_t, D> bits_tag;
    const auto bits = hn::LoadU(bits_tag, reinterpret_cast<const std::uint16_t*>(from));
    if constexpr (std::is_same_v<T, Ort::Float16_t>) {
      const hn::Rebind<hwy::float16_t, D> half_tag;
      return hn::PromoteTo(df, hn::BitCast(half_tag, bits));
    } else {  // a bfloat16 is the upper half of a float32
      const hn::RebindToUnsigned<D> du;
      return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
    }
  }
}

/// float32, float16 or bfloat16 to float32, exactly.
template <typename T>
HWY_INLINE void widen(const T* from, std::int64_t count, float* HWY_RESTRICT to) {
  if constexpr (std::is_same_v<T, float>) {
    std::copy_n(from, count, to);
  } else {
    const hn::ScalableTag<float> df;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      hn::StoreU(load_widened(df, from + i), df, to + i);
    }
    for (; i < count; ++i) {
      to[i] = from[i].ToFloat();
    }
  }
}

/// float32 to T, rounded to nearest even.
template <typename T>
HWY_INLINE void narrow(const float* from, std::int64_t count, T* HWY_RESTRICT to) {
  std::transform(from, from + count, to, [](float value) { return T(value); });
}

}  // namespace kvcache::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
