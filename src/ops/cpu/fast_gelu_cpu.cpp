#include "ops/cpu/fast_gelu_cpu.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/fast_gelu_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "ops/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::ops::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> gelu(D d, hn::Vec<D> x) {
  constexpr float kMinusTwiceSqrtTwoOverPi = -1.5957691216057308F;
  constexpr float kLargestExponent = 88.0F;  // beyond it exp overflows, and gelu is −0 long since
  const auto cubic = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715F), hn::Mul(x, x)), x, x);
  const auto exponent = hn::Min(hn::Mul(hn::Set(d, kMinusTwiceSqrtTwoOverPi), cubic),
                                hn::Set(d, kLargestExponent));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0F), hn::Exp(d, exponent)));
}

void fast_gelu(const float* in, const float* bias, std::int64_t count, float* out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(gelu(d, hn::Add(hn::LoadU(d, in + i), hn::LoadU(d, bias + i))), d, out + i);
  }
  if (const std::int64_t left = count - i; left > 0) {
    const auto x = hn::Add(load_first(d, in + i, left), load_first(d, bias + i, left));
    store_first(gelu(d, x), d, out + i, left);
  }
}

}  // namespace kvcache::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::ops {

HWY_EXPORT(fast_gelu);

void fast_gelu_cpu(const float* in, const float* bias, std::int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(fast_gelu)(in, bias, count, out);
}

}  // namespace kvcache::ops
#endif
