// Quantised weights in float32.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_DEQUANTIZE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_DEQUANTIZE_INL_HPP_
#undef KVCACHE_KERNELS_DEQUANTIZE_INL_HPP_
#else
#define KVCACHE_KERNELS_DEQUANTIZE_INL_HPP_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/quantized_cpu.hpp"
#include "kernels/cpu/quantized_tile-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kDequantizedInputs = 16;  // at a time: the smallest block

/// kDequantizedInputs inputs of a vector of columns, from the panel's group at `bytes` on.
template <class Kind, class D>
HWY_INLINE void dequantize_inputs(D df, const std::uint8_t* bytes, const Float16* scales,
                                  float* HWY_RESTRICT out) {
  constexpr int kBits = Kind::kBits;
  const BlockScales<Kind, D> of_block(df, scales);
  const hn::RebindToSigned<D> di;
  constexpr std::int64_t kGroup = QuantizedWeight::kGroupInputs;
  constexpr std::int64_t kRow = kPanelColumns * kGroup;
  const auto mask = hn::Set(di, (1 << kBits) - 1);
  const auto zero_point = hn::Set(di, Kind::kMinimums ? 0 : 1 << (kBits - 1));
  for (std::int64_t group = 0; group < kDequantizedInputs / kGroup; ++group) {
    const std::uint8_t* at = bytes + group * kBits / 8 * kRow;
    auto four = hn::LoadU(di, reinterpret_cast<const std::int32_t*>(at));
    if (kBits == 4 && group % 2 == 1) {
      four = hn::ShiftRight<4>(four);
    }
    for (std::int64_t i = 0; i < kGroup; ++i) {
      const auto value = hn::ConvertTo(df, hn::Sub(hn::And(four, mask), zero_point));
      const auto weight = Kind::kMinimums ? hn::MulAdd(value, of_block.scale, of_block.minimum)
                                          : hn::Mul(value, of_block.scale);
      hn::StoreU(weight, df, out + (group * kGroup + i) * kPanelColumns);
      four = hn::ShiftRight<8>(four);
    }
  }
}

/// `count` inputs of a panel from `first` on, a multiple of 16, in float32: [count rounded up to a
/// multiple of 16, kPanelColumns].
template <class Kind>
HWY_INLINE void dequantize_panel(const QuantizedWeight& weight, std::int64_t panel,
                                 std::int64_t first, std::int64_t count, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> df;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
  constexpr std::int64_t kBytes = kDequantizedInputs * Kind::kBits / 8 * kPanelColumns;
  const std::uint8_t* values = weight.values + panel * weight.panel_bytes();
  const Float16* scales = weight.scales + panel * weight.panel_scales();
  for (std::int64_t input = 0; input < count; input += kDequantizedInputs) {
    const Float16* of_block =
        scales + (first + input) / weight.block_size * Kind::kScaleRows * kPanelColumns;
    const std::uint8_t* bytes = values + (first + input) / kDequantizedInputs * kBytes;
    for (std::int64_t c = 0; c < kPanelColumns; c += lanes) {
      dequantize_inputs<Kind>(df, bytes + c * QuantizedWeight::kGroupInputs, of_block + c,
                              out + input * kPanelColumns + c);
    }
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
