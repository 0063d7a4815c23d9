// RMSNorm of one vector: a token's, or a head's query or key.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_RMS_NORM_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_RMS_NORM_INL_HPP_
#undef KVCACHE_KERNELS_RMS_NORM_INL_HPP_
#else
#define KVCACHE_KERNELS_RMS_NORM_INL_HPP_
#endif

#include <cmath>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Calls whole(position) for whole vectors and rest(position, how many) for what is left.
template <typename Whole, typename Rest>
HWY_INLINE void for_vectors(std::int64_t size, const Whole& whole, const Rest& rest) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  std::int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    whole(i);
  }
  if (i < size) {
    rest(i, size - i);
  }
}

/// out = x / √(mean of x² + epsilon) · weight, each [size]; out may be x.
HWY_INLINE void rms_norm(const float* x, const float* HWY_RESTRICT weight, std::int64_t size,
                         float epsilon, float* out) {
  const hn::ScalableTag<float> d;
  auto squares = hn::Zero(d);
  const auto add = [&](auto element) HWY_ATTR { squares = hn::MulAdd(element, element, squares); };
  for_vectors(
      size, [&](auto i) HWY_ATTR { add(hn::LoadU(d, x + i)); },
      [&](auto i, auto left) HWY_ATTR { add(load_first(d, x + i, left)); });
  const float mean = hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(size);
  const auto factors = hn::Set(d, 1.0F / std::sqrt(mean + epsilon));
  for_vectors(
      size,
      [&](auto i) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), factors), hn::LoadU(d, weight + i)), d,
                   out + i);
      },
      [&](auto i, auto left) HWY_ATTR {
        store_first(
            hn::Mul(hn::Mul(load_first(d, x + i, left), factors), load_first(d, weight + i, left)),
            d, out + i, left);
      });
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
