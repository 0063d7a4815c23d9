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

/// float16 of these bits, zeros above them in each lane, as float32: infinity and NaN too, of which
/// Highway 1.0 makes numbers where the processor does not convert.
template <class D, class Bits>
HWY_INLINE hn::Vec<D> float16_to_float32(D df, Bits bits) {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128 || \
    (HWY_ARCH_X86 && (HWY_TARGET >= HWY_SSE4 || defined(HWY_DISABLE_F16C)))
  const hn::RebindToSigned<D> di;  // as Float16's own conversion, see there
  const auto wide = hn::BitCast(di, hn::PromoteTo(hn::RebindToUnsigned<D>(), bits));
  const auto sign = hn::ShiftLeft<16>(hn::And(wide, hn::Set(di, 0x8000)));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(wide, hn::Set(di, 0x7FFF)));
  const auto one_below = hn::Set(di, 0x3880'0000);
  const auto subnormal =
      hn::Sub(hn::BitCast(df, hn::Or(magnitude, one_below)), hn::BitCast(df, one_below));
  auto number = hn::Add(magnitude, hn::Set(di, 0x3800'0000));
  number = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x0080'0000)), hn::BitCast(di, subnormal),
                          number);
  number = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x0F80'0000)), number,
                          hn::Or(magnitude, hn::Set(di, 0x7F80'0000)));
  return hn::BitCast(df, hn::Or(sign, number));
#else
  const hn::Rebind<hwy::float16_t, D> half_tag;
  return hn::PromoteTo(df, hn::BitCast(half_tag, bits));
#endif
}

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
      return float16_to_float32(df, bits);
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
