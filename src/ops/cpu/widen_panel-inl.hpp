// Quantised weights in float32.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_OPS_WIDEN_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_OPS_WIDEN_PANEL_INL_HPP_
#undef KVCACHE_OPS_WIDEN_PANEL_INL_HPP_
#else
#define KVCACHE_OPS_WIDEN_PANEL_INL_HPP_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "ops/cpu/quantized_cpu.hpp"
#include "ops/cpu/widen-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::ops::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Inputs [first, first + count) of a panel, [count, kPanelColumns]; `first` is a multiple of 8.
HWY_INLINE void widen_panel(const QuantizedWeight& weight, std::int64_t panel, std::int64_t first,
                            std::int64_t count, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> df;
  const hn::RebindToSigned<decltype(df)> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
  constexpr std::int64_t kGroup = QuantizedWeight::kGroupInputs;
  const std::int64_t per_byte = 8 / weight.bits;
  const auto mask = hn::Set(di, (1 << weight.bits) - 1);
  const auto zero_point = hn::Set(di, weight.zero_point());
  const std::uint8_t* values = weight.values + panel * weight.panel_bytes();
  const Ort::Float16_t* scales = weight.scales + panel * weight.blocks() * kPanelColumns;
  for (std::int64_t c = 0; c < kPanelColumns; c += lanes) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t input = first + i;
      const std::int64_t group = input / kGroup;
      const std::uint8_t* bytes = values + (group / per_byte * kPanelColumns + c) * kGroup;
      const auto shift = static_cast<int>(input % kGroup * 8 + group % per_byte * weight.bits);
      const auto four = hn::LoadU(di, reinterpret_cast<const std::int32_t*>(bytes));
      const auto value = hn::Sub(hn::And(hn::ShiftRightSame(four, shift), mask), zero_point);
      const auto scale = load_widened(df, scales + input / weight.block_size * kPanelColumns + c);
      hn::StoreU(hn::Mul(hn::ConvertTo(df, value), scale), df, out + i * kPanelColumns + c);
    }
  }
}

}  // namespace kvcache::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
