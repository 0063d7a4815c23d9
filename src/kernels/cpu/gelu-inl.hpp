// The activation of GPT-2.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_GELU_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_GELU_INL_HPP_
#undef KVCACHE_KERNELS_GELU_INL_HPP_
#else
#define KVCACHE_KERNELS_GELU_INL_HPP_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The tanh approximation of gelu, 0.5 x (1 + tanh(u)) with u = √(2/π) (x + 0.044715 x³), of
/// Hendrycks & Gimpel 2016 (arXiv:1606.08415), computed as x / (1 + exp(−2u)): the same function.
template <class D>
HWY_INLINE hn::Vec<D> gelu(D d, hn::Vec<D> x) {
  constexpr float kMinusTwiceSqrtTwoOverPi = -1.5957691216057308F;
  constexpr float kLargestExponent = 88.0F;  // beyond it exp overflows, and gelu is −0 long since
  const auto cubic = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715F), hn::Mul(x, x)), x, x);
  const auto exponent =
      hn::Min(hn::Mul(hn::Set(d, kMinusTwiceSqrtTwoOverPi), cubic), hn::Set(d, kLargestExponent));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0F), hn::Exp(d, exponent)));
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
