// Narrower elements to float32.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_TO_FLOAT32_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_TO_FLOAT32_INL_HPP_
#undef KVCACHE_KERNELS_TO_FLOAT32_INL_HPP_
#else
#define KVCACHE_KERNELS_TO_FLOAT32_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/float16.hpp"
#include "hwy/highway.h"
#include "kernels/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// A vector of float32, float16, bfloat16 or int8, as float32, exactly.
template <class D, typename T>
HWY_INLINE hn::Vec<D> load_float32(D df, const T* HWY_RESTRICT from) {
  if constexpr (std::is_same_v<T, float>) {
    return hn::LoadU(df, from);
  } else if constexpr (std::is_same_v<T, std::int8_t>) {
    const hn::Rebind<std::int8_t, D> bytes_tag;
    const hn::RebindToSigned<D> di;
    return hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(bytes_tag, from)));
  } else {
    const hn::Rebind<std::uint16_t, D> bits_tag;
    const auto bits = hn::LoadU(bits_tag, reinterpret_cast<const std::uint16_t*>(from));
    if constexpr (std::is_same_v<T, Float16>) {
      const hn::Rebind<hwy::float16_t, D> half_tag;
      return hn::PromoteTo(df, hn::BitCast(half_tag, bits));
    } else {  // a bfloat16 is the upper half of a float32
      const hn::RebindToUnsigned<D> du;
      return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
    }
  }
}

/// A vector of from[0 … count − 1] as float32, exactly, and zeros; reads nothing beyond.
template <class D, typename T>
HWY_INLINE hn::Vec<D> load_first_float32(D df, const T* HWY_RESTRICT from, std::int64_t count) {
  if constexpr (std::is_same_v<T, float>) {
    return load_first(df, from, count);
  } else {
    HWY_ALIGN std::byte bytes[HWY_MAX_BYTES / sizeof(float) * sizeof(T)] = {};
    std::memcpy(bytes, from, static_cast<std::size_t>(count) * sizeof(T));
    return load_float32(df, reinterpret_cast<const T*>(bytes));
  }
}

/// float32, float16, bfloat16 or int8 to float32, exactly.
template <typename T>
HWY_INLINE void to_float32(const T* from, std::int64_t count, float* HWY_RESTRICT to) {
  if constexpr (std::is_same_v<T, float>) {
    std::copy_n(from, count, to);
  } else {
    const hn::ScalableTag<float> df;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      hn::StoreU(load_float32(df, from + i), df, to + i);
    }
    for (; i < count; ++i) {
      if constexpr (std::is_same_v<T, std::int8_t>) {
        to[i] = from[i];
      } else {
        to[i] = static_cast<float>(from[i]);
      }
    }
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
