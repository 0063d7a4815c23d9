// What follows a product: bias, activation, gate and residual.
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
#include "kernels/cpu/activation-inl.hpp"
#include "kernels/cpu/linear_cpu.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The same for weights of every type.
struct Epilogue {
  const float* bias;      // [outputs], gated [2 · outputs]; null for none
  const float* residual;  // [tokens, outputs], null for none
  float* out;             // [tokens, outputs]
  std::int64_t outputs;
  Activation activation;
  bool gated;
};

template <typename W>
Epilogue epilogue_of(const LinearArgs<W>& args) {
  return {args.bias, args.residual, args.out, args.outputs, args.activation, args.gated};
}

/// One token's columns of one panel.
struct EpilogueRow {
  const float* sums;
  const float* bias;
  const float* up_sums;  // the gate's other factor
  const float* up_bias;
  const float* residual;  // null for none
  std::int64_t count;
  float* out;
};

/// out[i] = activation(sums[i] + bias[i]) + residual[i] for i in [0, count); without residual where
/// that is null; gated, the activation is multiplied by up_sums[i] + up_bias[i].
template <Activation kActivation, bool kGated>
HWY_INLINE void row_epilogue(const EpilogueRow& row) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto finish = [&](const auto& load, const auto& store) HWY_ATTR {
    auto y = activated<kActivation>(d, hn::Add(load(row.sums), load(row.bias)));
    if constexpr (kGated) {
      y = hn::Mul(y, hn::Add(load(row.up_sums), load(row.up_bias)));
    }
    if (row.residual != nullptr) {
      y = hn::Add(y, load(row.residual));
    }
    store(y);
  };
  std::int64_t i = 0;
  for (; i + lanes <= row.count; i += lanes) {
    finish([&](const float* from) HWY_ATTR { return hn::LoadU(d, from + i); },
           [&](auto y) HWY_ATTR { hn::StoreU(y, d, row.out + i); });
  }
  if (const std::int64_t left = row.count - i; left > 0) {
    finish([&](const float* from) HWY_ATTR { return load_first(d, from + i, left); },
           [&](auto y) HWY_ATTR { store_first(y, d, row.out + i, left); });
  }
}

template <bool kGated>
HWY_INLINE void row_epilogue(Activation activation, const EpilogueRow& row) {
  switch (activation) {
    case Activation::none:
      return row_epilogue<Activation::none, kGated>(row);
    case Activation::gelu_tanh:
      return row_epilogue<Activation::gelu_tanh, kGated>(row);
    case Activation::gelu_erf:
      return row_epilogue<Activation::gelu_erf, kGated>(row);
    case Activation::silu:
      return row_epilogue<Activation::silu, kGated>(row);
  }
}

/// Columns of one panel for `tokens` tokens from `first` on, out of their sums
/// [tokens, kPanelColumns], those of a gate out of two.
inline HWY_NOINLINE void panel_epilogue(const Epilogue& of, std::int64_t panel, std::int64_t first,
                                        std::int64_t tokens, const float* sums,
                                        const float* up_sums) {
  static constexpr float kNoBias[kPanelColumns] = {};
  const std::int64_t column = panel * kPanelColumns;
  const std::int64_t count = std::min(kPanelColumns, of.outputs - column);
  const float* const bias = of.bias == nullptr ? kNoBias : of.bias + column;
  const float* const up_bias = of.bias == nullptr || !of.gated ? bias : bias + of.outputs;
  up_sums = of.gated ? up_sums : sums;  // nobody reads those of no gate
  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::int64_t place = (first + token) * of.outputs + column;
    const EpilogueRow row{.sums = sums + token * kPanelColumns,
                          .bias = bias,
                          .up_sums = up_sums + token * kPanelColumns,
                          .up_bias = up_bias,
                          .residual = of.residual == nullptr ? nullptr : of.residual + place,
                          .count = count,
                          .out = of.out + place};
    if (of.gated) {
      row_epilogue<true>(of.activation, row);
    } else {
      row_epilogue<false>(of.activation, row);
    }
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
