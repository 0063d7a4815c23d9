// What follows a product: bias and activation.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_OPS_FINISH_ROW_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_OPS_FINISH_ROW_INL_HPP_
#undef KVCACHE_OPS_FINISH_ROW_INL_HPP_
#else
#define KVCACHE_OPS_FINISH_ROW_INL_HPP_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "ops/cpu/gelu-inl.hpp"
#include "ops/cpu/linear_cpu.hpp"
#include "ops/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::ops::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// out[i] = activation(sums[i] + bias[i]) for i in [0, count).
template <Activation kActivation>
HWY_INLINE void finish_row(const float* HWY_RESTRICT sums, const float* HWY_RESTRICT bias,
                           std::int64_t count, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto activate = [&](hn::Vec<decltype(d)> x) {
    if constexpr (kActivation == Activation::gelu) {
      return gelu(d, x);
    } else {
      return x;
    }
  };
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto x = hn::Add(hn::LoadU(d, sums + i), hn::LoadU(d, bias + i));
    hn::StoreU(activate(x), d, out + i);
  }
  if (const std::int64_t left = count - i; left > 0) {
    const auto x = hn::Add(load_first(d, sums + i, left), load_first(d, bias + i, left));
    store_first(activate(x), d, out + i, left);
  }
}

}  // namespace kvcache::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
