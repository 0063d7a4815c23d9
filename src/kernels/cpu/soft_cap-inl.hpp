// Numbers kept below a bound smoothly: scores and logits of some models.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_SOFT_CAP_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_SOFT_CAP_INL_HPP_
#undef KVCACHE_KERNELS_SOFT_CAP_INL_HPP_
#else
#define KVCACHE_KERNELS_SOFT_CAP_INL_HPP_
#endif

#include <cstdint>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// x[i] = cap · tanh(x[i] / cap) for i in [0, count): each by itself, wherever it lies.
HWY_INLINE void soft_cap(float* HWY_RESTRICT x, std::int64_t count, float cap) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, cap);
  const auto inverse = hn::Set(d, 1.0F / cap);
  const auto capped = [&](auto value) HWY_ATTR {
    return hn::Mul(factor, hn::Tanh(d, hn::Mul(value, inverse)));
  };
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(capped(hn::LoadU(d, x + i)), d, x + i);
  }
  if (const std::int64_t left = count - i; left > 0) {
    store_first(capped(load_first(d, x + i, left)), d, x + i, left);
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
