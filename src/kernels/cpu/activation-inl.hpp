// The activation functions that products have.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ACTIVATION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ACTIVATION_INL_HPP_
#undef KVCACHE_KERNELS_ACTIVATION_INL_HPP_
#else
#define KVCACHE_KERNELS_ACTIVATION_INL_HPP_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/linear_cpu.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Beyond it exp overflows, and what is divided by exp is −0 long since.
inline constexpr float kLargestExponent = 88.0F;

/// The tanh approximation of gelu, 0.5 x (1 + tanh(u)) with u = √(2/π) (x + 0.044715 x³), of
/// Hendrycks & Gimpel 2016 (arXiv:1606.08415), computed as x / (1 + exp(−2u)): the same function.
template <class D>
HWY_INLINE hn::Vec<D> gelu_tanh(D d, hn::Vec<D> x) {
  constexpr float kMinusTwiceSqrtTwoOverPi = -1.5957691216057308F;
  const auto cubic = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715F), hn::Mul(x, x)), x, x);
  const auto exponent =
      hn::Min(hn::Mul(hn::Set(d, kMinusTwiceSqrtTwoOverPi), cubic), hn::Set(d, kLargestExponent));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0F), hn::Exp(d, exponent)));
}

/// x Φ(x), Φ the normal distribution's cumulative function: of the same authors.
///
/// Φ(−|x|) = erfc(z) / 2 with z = |x| / √2, and erfc(z) exp(z²) is within 3e-8 of itself a
/// polynomial of t = 1 / (1 + z / 2) for z up to 9.5 (fitted here;
/// tests/kernels/cpu/linear_test.cpp compares with std::erfc), behind which Φ is less than 1e-39.
template <class D>
HWY_INLINE hn::Vec<D> gelu_erf(D d, hn::Vec<D> x) {
  constexpr float kSqrtHalf = 0.7071067811865476F;
  constexpr float kLargest = 9.3F;
  constexpr float kCoefficients[]{
      -0.05412717163562775F, 0.25906750559806824F,  -0.4305732846260071F, 0.20732052624225616F,
      0.028014058247208595F, 0.17572298645973206F,  0.2515787184238434F,  0.28074392676353455F,
      0.28226056694984436F,  -7.84755411586957e-06F};
  const auto one = hn::Set(d, 1.0F);
  const auto z = hn::Min(hn::Mul(hn::Abs(x), hn::Set(d, kSqrtHalf)), hn::Set(d, kLargest));
  const auto t = hn::Div(one, hn::MulAdd(z, hn::Set(d, 0.5F), one));
  auto scaled = hn::Zero(d);
  for (const float coefficient : kCoefficients) {
    scaled = hn::MulAdd(scaled, t, hn::Set(d, coefficient));
  }
  const auto tail = hn::Mul(hn::Mul(hn::Set(d, 0.5F), scaled), hn::Exp(d, hn::Neg(hn::Mul(z, z))));
  return hn::Mul(x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail)));
}

/// x / (1 + exp(−x)), the SiLU of the same authors, also called swish.
template <class D>
HWY_INLINE hn::Vec<D> silu(D d, hn::Vec<D> x) {
  const auto exponent = hn::Min(hn::Neg(x), hn::Set(d, kLargestExponent));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0F), hn::Exp(d, exponent)));
}

template <Activation kActivation, class D>
HWY_INLINE hn::Vec<D> activated(D d, hn::Vec<D> x) {
  if constexpr (kActivation == Activation::gelu_tanh) {
    return gelu_tanh(d, x);
  } else if constexpr (kActivation == Activation::gelu_erf) {
    return gelu_erf(d, x);
  } else if constexpr (kActivation == Activation::silu) {
    return silu(d, x);
  } else {
    return x;
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
