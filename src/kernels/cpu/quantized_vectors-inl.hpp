// Keys and values of int8, each vector with a scale of its own behind it, as docs/MODEL_FILE.md
// says it; of other types, the same without scales.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_QUANTIZED_VECTORS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_QUANTIZED_VECTORS_INL_HPP_
#undef KVCACHE_KERNELS_QUANTIZED_VECTORS_INL_HPP_
#else
#define KVCACHE_KERNELS_QUANTIZED_VECTORS_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/float16.hpp"
#include "hwy/highway.h"
#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr float kLargestOfVector = 127.0F;  // what a vector's largest magnitude becomes
inline constexpr float kSmallestVectorMaximum = 1e-30F;  // so that a vector of zeros has an inverse

/// x [size] to `vector`: int8 [size], then the scale, a bfloat16. NaN and Inf make the scale NaN.
///
/// The scale is rounded before it is divided by. That moves what the largest magnitude becomes by
/// 127 · 2⁻⁹ at most, less than half a step, so nothing passes 127.
HWY_INLINE void quantize_vector(const float* HWY_RESTRICT x, std::int64_t size,
                                std::int8_t* HWY_RESTRICT vector) {
  const hn::ScalableTag<float> df;
  const hn::Rebind<std::int8_t, decltype(df)> bytes_tag;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
  const auto zero = hn::Zero(df);
  auto largest = hn::Set(df, kSmallestVectorMaximum);
  auto not_finite = zero;
  const auto look_at = [&](hn::Vec<decltype(df)> element) {
    largest = hn::Max(largest, hn::Abs(element));
    not_finite = hn::MulAdd(element, zero, not_finite);
  };
  std::int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    look_at(hn::LoadU(df, x + i));
  }
  if (i < size) {
    look_at(load_first(df, x + i, size - i));
  }
  const float maximum = hn::GetLane(hn::MaxOfLanes(df, largest));
  const BFloat16 scale(maximum / kLargestOfVector + hn::GetLane(hn::SumOfLanes(df, not_finite)));
  const auto inverse = hn::Set(df, 1.0F / static_cast<float>(scale));
  const auto rounded = [&](hn::Vec<decltype(df)> element) {
    return hn::DemoteTo(bytes_tag, hn::NearestInt(hn::Mul(element, inverse)));
  };
  for (i = 0; i + lanes <= size; i += lanes) {
    hn::StoreU(rounded(hn::LoadU(df, x + i)), bytes_tag, vector + i);
  }
  if (i < size) {
    HWY_ALIGN std::int8_t last[HWY_MAX_BYTES / sizeof(float)];
    hn::StoreU(rounded(load_first(df, x + i, size - i)), bytes_tag, last);
    std::copy_n(last, size - i, vector + i);
  }
  std::memcpy(vector + size, &scale, sizeof(scale));
}

/// The scale of a vector of `size` elements.
HWY_INLINE float scale_of(const std::int8_t* vector, std::int64_t size) {
  std::uint16_t upper = 0;  // half of a float32
  std::memcpy(&upper, vector + size, sizeof(upper));
  const std::uint32_t bits = std::uint32_t{upper} << 16;
  float scale = 0;
  std::memcpy(&scale, &bits, sizeof(scale));
  return scale;
}

/// numbers[i] *= the scale of vector i of `size` elements, where vectors have one.
template <typename T>
HWY_INLINE void multiply_by_scales(const T* vectors, std::int64_t count, std::int64_t size,
                                   float* HWY_RESTRICT numbers) {
  if constexpr (std::is_same_v<T, std::int8_t>) {
    const std::int64_t stride = size + kScaleElements<T>;
    for (std::int64_t i = 0; i < count; ++i) {
      numbers[i] *= scale_of(vectors + i * stride, size);
    }
  }
}

/// `count` vectors as float32 [count, head_dim], exactly, but without their scales: in `scratch`,
/// or where they are if they are float32 already.
template <typename T>
HWY_INLINE const float* vectors_as_float(const KvView<T>& view, const T* vectors,
                                         std::int64_t count, float* HWY_RESTRICT scratch) {
  if constexpr (std::is_same_v<T, float>) {
    return vectors;
  } else if constexpr (std::is_same_v<T, std::int8_t>) {
    for (std::int64_t r = 0; r < count; ++r) {
      to_float32(vectors + r * view.vector_elements(), view.head_dim, scratch + r * view.head_dim);
    }
    return scratch;
  } else {
    to_float32(vectors, count * view.head_dim, scratch);
    return scratch;
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
