// What follows a product: bias, activation and residual.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_EPILOGUE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_EPILOGUE_INL_HPP_
#undef KVCACHE_KERNELS_EPILOGUE_INL_HPP_
#else
#define KVCACHE_KERNELS_EPILOGUE_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/gelu-inl.hpp"
#include "kernels/cpu/linear_cpu.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// out[i] = activation(sums[i] + bias[i]) + residual[i] for i in [0, count); without residual where
/// that is null.
template <Activation kActivation>
HWY_INLINE void row_epilogue(const float* HWY_RESTRICT sums, const float* HWY_RESTRICT bias,
                             const float* HWY_RESTRICT residual, std::int64_t count,
                             float* HWY_RESTRICT out) {
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
    auto y = activate(hn::Add(hn::LoadU(d, sums + i), hn::LoadU(d, bias + i)));
    if (residual != nullptr) {
      y = hn::Add(y, hn::LoadU(d, residual + i));
    }
    hn::StoreU(y, d, out + i);
  }
  if (const std::int64_t left = count - i; left > 0) {
    auto y = activate(hn::Add(load_first(d, sums + i, left), load_first(d, bias + i, left)));
    if (residual != nullptr) {
      y = hn::Add(y, load_first(d, residual + i, left));
    }
    store_first(y, d, out + i, left);
  }
}

/// Columns of one panel for `tokens` tokens from `first` on, out of their sums
/// [tokens, kPanelColumns].
template <typename W>
HWY_INLINE void panel_epilogue(const LinearArgs<W>& args, std::int64_t panel, std::int64_t first,
                               std::int64_t tokens, const float* sums) {
  const std::int64_t column = panel * kPanelColumns;
  const std::int64_t count = std::min(kPanelColumns, args.outputs - column);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const float* row = sums + token * kPanelColumns;
    const std::int64_t place = (first + token) * args.outputs + column;
    const float* residual = args.residual == nullptr ? nullptr : args.residual + place;
    if (args.activation == Activation::gelu) {
      row_epilogue<Activation::gelu>(row, args.bias + column, residual, count, args.out + place);
    } else {
      row_epilogue<Activation::none>(row, args.bias + column, residual, count, args.out + place);
    }
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
