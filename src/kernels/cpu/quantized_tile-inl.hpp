// The product of a few tokens, rounded to int8, with a panel of quantised weights.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_
#undef KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_
#endif

#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/integer_dot-inl.hpp"
#include "kernels/cpu/quantized_cpu.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Tokens rounded to int8: x ≈ scale · value. One after the other, or in tiles of `tile` tokens
/// whose blocks follow one another: [tokens / tile, blocks, tile, …].
struct QuantizedTokens {
  std::int8_t* values;  // [tokens / tile, blocks, tile, block size]
  float* scales;        // [tokens / tile, blocks, tile]
  std::int32_t* offsets;  // of the same shape: −(the weight's zero point) · Σ values of the block,
                          // or where the weight has minimums Σ values
  std::int64_t tile = 1;

  [[nodiscard]] QuantizedTokens from_token(std::int64_t token,
                                           const QuantizedWeight& weight) const {
    const std::int64_t first = token / tile * tile * weight.blocks() + token % tile;
    return {values + first * weight.block_size, scales + first, offsets + first, tile};
  }
};

// Sums of kTileTokens × kTileVectors vectors stay in registers, of which AVX-512 has 32 and the
// others 16; without the one instruction, weights take two registers each.
#if KVCACHE_INTEGER_DOT == 2
inline constexpr int kTileTokens = 6;
inline constexpr int kTileVectors = 4;
#elif HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
inline constexpr int kTileTokens = 4;
inline constexpr int kTileVectors = 4;
#else
inline constexpr int kTileTokens = 3;
inline constexpr int kTileVectors = 2;
#endif

/// What is read next, fetched while computing: `bytes` of `data` with each 256 bytes of weights.
struct NextPanel {
  const std::uint8_t* data = nullptr;
  std::int64_t bytes = 0;

  HWY_INLINE void fetch(std::int64_t step) const {
    for (std::int64_t i = 0; i < bytes; i += 64) {
      hwy::Prefetch(data + step * bytes + i);
    }
  }
};

/// What kernels are made for: 8 bits, 4, and 4 with minimums.
template <int kBitsOfValue, bool kHasMinimums = false>
struct QuantizedKind {
  static constexpr int kBits = kBitsOfValue;
  static constexpr bool kMinimums = kHasMinimums;
  static constexpr std::int64_t kScaleRows = kMinimums ? 2 : 1;
};

/// A block's scales of a vector of columns, with its minimums where it has any.
template <class Kind, class D>
struct BlockScales {
  HWY_INLINE BlockScales(D df, const Float16* from)
      : scale(load_float32(df, from)),
        minimum(Kind::kMinimums ? load_float32(df, from + kPanelColumns) : hn::Zero(df)) {}

  hn::Vec<D> scale;
  hn::Vec<D> minimum;
};

/// total + scale · (scale of x · sum), and with minimums + minimum · (scale of x · Σ of x): what a
/// block adds to a vector of columns, in this order wherever it is computed.
template <class Kind, class D, class V>
HWY_INLINE V add_block(D df, V sum, const BlockScales<Kind, D>& scales, float scale_of_x,
                       std::int32_t sum_of_x, V total) {
  const auto both = hn::Mul(scales.scale, hn::Set(df, scale_of_x));
  total = hn::MulAdd(sum, both, total);
  if constexpr (Kind::kMinimums) {
    const float scaled = scale_of_x * static_cast<float>(sum_of_x);
    total = hn::MulAdd(scales.minimum, hn::Set(df, scaled), total);
  }
  return total;
}

/// out[t][c] = Σ over the blocks of `add_block` for kTokens tokens t and kVectors vectors of
/// columns c from `column` on; blocks one after the other.
template <class Kind, int kTokens, int kVectors>
HWY_INLINE void multiply_quantized_registers(const QuantizedTokens& x,
                                             const QuantizedWeight& weight, std::int64_t panel,
                                             std::int64_t column, float* HWY_RESTRICT out,
                                             const NextPanel& next) {
  const hn::ScalableTag<float> df;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
  constexpr std::int64_t kRow = kPanelColumns * QuantizedWeight::kGroupInputs;
  constexpr int kBits = Kind::kBits;
  constexpr std::int64_t kRowInputs = QuantizedWeight::kGroupInputs * 8 / kBits;
  const std::int64_t blocks = weight.blocks();
  const std::int64_t padded_inputs = weight.padded_inputs();
  const std::uint8_t* values =
      weight.values + panel * weight.panel_bytes() + column * QuantizedWeight::kGroupInputs;
  const Float16* scales = weight.scales + panel * weight.panel_scales() + column;
  const std::int8_t* activations = x.values;
  std::int64_t step = 0;
  for (std::int64_t block = 0; block < blocks; ++block) {
    Sums sums[kTokens][kVectors];
    for (int t = 0; t < kTokens; ++t) {
      for (int v = 0; v < kVectors; ++v) {
        sums[t][v] = sums_from(Kind::kMinimums ? 0 : x.offsets[t * blocks + block]);
      }
    }
    for (std::int64_t input = 0; input < weight.block_size; input += kRowInputs) {
      hn::Vec<IntegerTag> bytes[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        const std::uint8_t* at = values + v * lanes * QuantizedWeight::kGroupInputs;
        bytes[v] = hn::LoadU(IntegerTag(), reinterpret_cast<const std::int32_t*>(at));
      }
      next.fetch(step++);
      const auto add_groups = [&](std::int64_t group, const auto& groups_of) {
        WeightGroups weights[kVectors];
        for (int v = 0; v < kVectors; ++v) {
          weights[v] = weight_groups(groups_of(bytes[v]));
        }
        for (int t = 0; t < kTokens; ++t) {
          const auto of_token = activation_group(activations + t * padded_inputs + group);
          for (int v = 0; v < kVectors; ++v) {
            sums[t][v] = add_products(sums[t][v], weights[v], of_token);
          }
        }
      };
      if constexpr (kBits == 8) {
        add_groups(0, [](auto all) HWY_ATTR { return all; });
      } else {
        const auto low = hn::Set(IntegerTag(), 0x0F0F0F0F);
        add_groups(0, [&](auto pairs) HWY_ATTR { return hn::And(pairs, low); });
        add_groups(QuantizedWeight::kGroupInputs,
                   [&](auto pairs) HWY_ATTR { return hn::And(hn::ShiftRight<4>(pairs), low); });
      }
      values += kRow;
      activations += kRowInputs;
    }
    for (int v = 0; v < kVectors; ++v) {
      const BlockScales<Kind, hn::ScalableTag<float>> of_block(df, scales + v * lanes);
      for (int t = 0; t < kTokens; ++t) {
        float* total = out + t * kPanelColumns + column + v * lanes;
        const auto before = block == 0 ? hn::Zero(df) : hn::LoadU(df, total);
        const std::int64_t at = t * blocks + block;
        hn::StoreU(
            add_block(df, float_sums(sums[t][v]), of_block, x.scales[at], x.offsets[at], before),
            df, total);
      }
    }
    scales += Kind::kScaleRows * kPanelColumns;
  }
}

/// out [tokens, kPanelColumns] = x · panel, a few tokens at a time.
template <class Kind, int kTokens = kTileTokens>
HWY_INLINE void multiply_quantized(QuantizedTokens x, std::int64_t tokens,
                                   const QuantizedWeight& weight, std::int64_t panel, float* out,
                                   NextPanel next) {
  constexpr int kVectors = kTokens == 1 ? 4 : kTileVectors;
  const auto group = kVectors * static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  for (; tokens >= kTokens; tokens -= kTokens) {
    for (std::int64_t column = 0; column < kPanelColumns; column += group) {
      multiply_quantized_registers<Kind, kTokens, kVectors>(x, weight, panel, column, out, next);
    }
    x = x.from_token(kTokens, weight);
    out += kTokens * kPanelColumns;
    next.data += weight.groups() * next.bytes;
  }
  if constexpr (kTokens > 1) {
    multiply_quantized<Kind, kTokens - 1>(x, tokens, weight, panel, out, next);
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
