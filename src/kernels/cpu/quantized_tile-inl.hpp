// The product of a few tokens, rounded to int8, with a panel of quantised weights.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_
#undef KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_QUANTIZED_TILE_INL_HPP_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/rounding.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/integer_dot-inl.hpp"
#include "kernels/cpu/prefetch-inl.hpp"
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
// others 16; without integer products, weights take four registers each.
#if KVCACHE_INTEGER_DOT == 2
inline constexpr int kTileTokens = 6;
inline constexpr int kTileVectors = 4;
#elif HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
inline constexpr int kTileTokens = 4;
inline constexpr int kTileVectors = 4;
#elif KVCACHE_INTEGER_DOT == 1
inline constexpr int kTileTokens = 4;
inline constexpr int kTileVectors = 2;
#else
inline constexpr int kTileTokens = 3;
inline constexpr int kTileVectors = 2;
#endif

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

/// Vectors that a tile's tokens and columns have one each of.
template <class V, int kTokens, int kVectors>
using TileVectors = V[kTokens][kVectors];

/// `sums` = those of `inputs` inputs of the tokens at `activations`, `stride` apart, and the
/// panel's rows at `values`. With each row, `ahead_bytes` of memory from `ahead` on are fetched.
template <class Kind, int kTokens, int kVectors, bool kAhead>
HWY_INLINE void sum_inputs(
    const std::int8_t* HWY_RESTRICT activations, std::int64_t stride,
    const std::uint8_t* HWY_RESTRICT values, std::int64_t inputs, const std::byte* ahead,
    std::int64_t ahead_bytes,
    TileVectors<typename IntegerDot<Kind::kBits>::Partial, kTokens, kVectors>& sums) {
  using Dot = IntegerDot<Kind::kBits>;
  constexpr std::int64_t kGroup = QuantizedWeight::kGroupInputs;
  constexpr std::int64_t kRowInputs = kGroup * 8 / Kind::kBits;
  constexpr auto kVectorBytes = static_cast<std::int64_t>(sizeof(float) * hn::MaxLanes(FloatTag()));
  HWY_UNROLL(8)
  for (int t = 0; t < kTokens; ++t) {
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) {
      sums[t][v] = Dot::zero();
    }
  }
  HWY_UNROLL(1)
  for (std::int64_t input = 0; input < inputs; input += kRowInputs) {
    IntegerVector bytes[kVectors];
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) {
      const std::uint8_t* at = values + v * kVectorBytes;
      bytes[v] = hn::LoadU(IntegerTag(), reinterpret_cast<const std::int32_t*>(at));
    }
    if constexpr (kAhead) {
      HWY_UNROLL(4)
      for (std::int64_t line = 0; line < kVectors * kVectorBytes; line += 64) {
        hwy::Prefetch(ahead + line);
      }
      ahead += ahead_bytes;
    }
    const auto add_groups = [&](std::int64_t group, const auto& group_of) HWY_ATTR {
      typename Dot::Weights weights[kVectors];
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        weights[v] = Dot::weights(group_of(bytes[v]));
      }
      HWY_UNROLL(8)
      for (int t = 0; t < kTokens; ++t) {
        const auto of_token = Dot::activations(activations + t * stride + group);
        HWY_UNROLL(4)
        for (int v = 0; v < kVectors; ++v) {
          sums[t][v] = Dot::add(sums[t][v], weights[v], of_token);
        }
      }
    };
    if constexpr (Kind::kBits == 8) {
      add_groups(0, [](auto all) HWY_ATTR { return all; });
    } else {
      const auto low = hn::Set(IntegerTag(), 0x0F0F0F0F);
      add_groups(0, [&](auto pairs) HWY_ATTR { return hn::And(pairs, low); });
      add_groups(kGroup,
                 [&](auto pairs) HWY_ATTR { return hn::And(hn::ShiftRight<4>(pairs), low); });
    }
    values += kPanelColumns * kGroup;
    activations += kRowInputs;
  }
}

/// out[t][c] = Σ over the blocks of `add_block` for kTokens tokens t and kVectors vectors of
/// columns c from `column` on; blocks one after the other. kWhole: a block fits into partial sums.
template <class Kind, int kTokens, int kVectors, bool kAhead, bool kWhole>
HWY_INLINE void multiply_quantized_registers(const QuantizedTokens& x,
                                             const QuantizedWeight& weight, std::int64_t panel,
                                             std::int64_t column, float* HWY_RESTRICT out,
                                             const std::byte* ahead, std::int64_t ahead_bytes) {
  using Dot = IntegerDot<Kind::kBits>;
  const FloatTag df;
  constexpr auto kWidth = static_cast<std::int64_t>(hn::MaxLanes(FloatTag()));
  constexpr std::int64_t kGroup = QuantizedWeight::kGroupInputs;
  constexpr std::int64_t kRowInputs = kGroup * 8 / Kind::kBits;
  constexpr bool kFromZero = Kind::kMinimums || Dot::kSigned;
  const std::int64_t blocks = weight.blocks();
  const std::int64_t stride = weight.padded_inputs();
  const std::uint8_t* values = weight.values + panel * weight.panel_bytes() + column * kGroup;
  const Float16* scales = weight.scales + panel * weight.panel_scales() + column;
  const std::int8_t* activations = x.values;
  const std::int64_t parts = kWhole ? 1 : weight.block_size / Dot::kPartialInputs;
  const std::int64_t some = kWhole ? weight.block_size : Dot::kPartialInputs;
  for (std::int64_t block = 0; block < blocks; ++block) {
    TileVectors<typename Dot::Sums, kTokens, kVectors> sums;
    HWY_UNROLL(8)
    for (int t = 0; t < kTokens; ++t) {
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        sums[t][v] = Dot::sums_from(kFromZero ? 0 : x.offsets[t * blocks + block]);
      }
    }
    for (std::int64_t part = 0; part < parts; ++part) {
      TileVectors<typename Dot::Partial, kTokens, kVectors> partial;
      sum_inputs<Kind, kTokens, kVectors, kAhead>(activations, stride, values, some, ahead,
                                                  ahead_bytes, partial);
      HWY_UNROLL(8)
      for (int t = 0; t < kTokens; ++t) {
        HWY_UNROLL(4)
        for (int v = 0; v < kVectors; ++v) {
          sums[t][v] = Dot::add_partial(sums[t][v], partial[t][v]);
        }
      }
      activations += some;
      values += some / kRowInputs * kPanelColumns * kGroup;
      ahead += some / kRowInputs * ahead_bytes;
    }
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) {
      const BlockScales<Kind, FloatTag> of_block(df, scales + v * kWidth);
      HWY_UNROLL(8)
      for (int t = 0; t < kTokens; ++t) {
        float* total = out + t * kPanelColumns + column + v * kWidth;
        const auto before = block == 0 ? hn::Zero(df) : hn::LoadU(df, total);
        const std::int64_t at = t * blocks + block;
        hn::StoreU(
            add_block(df, Dot::floats(sums[t][v]), of_block, x.scales[at], x.offsets[at], before),
            df, total);
      }
    }
    scales += Kind::kScaleRows * kPanelColumns;
  }
}

/// `tokens` tokens of `multiply_quantized`, at most kTokens: one group of columns after the other.
template <class Kind, bool kAhead, int kTokens = kTileTokens>
HWY_INLINE void multiply_quantized_tile(const QuantizedTokens& x, std::int64_t tokens,
                                        const QuantizedWeight& weight, std::int64_t panel,
                                        float* out, const NextPart& next) {
  if constexpr (kTokens > 1) {
    if (tokens < kTokens) {
      multiply_quantized_tile<Kind, kAhead, kTokens - 1>(x, tokens, weight, panel, out, next);
      return;
    }
  }
  // So few tokens leave registers for more columns, which share the loads of activations.
  constexpr int kVectors = kTokens <= 2 ? 4 : kTileVectors;
  constexpr auto kGroup = kVectors * static_cast<std::int64_t>(hn::MaxLanes(FloatTag()));
  static_assert(kPanelColumns % kGroup == 0);
  const std::int64_t ahead_bytes = next.row_bytes * kGroup / kPanelColumns;
  for (std::int64_t column = 0; column < kPanelColumns; column += kGroup) {
    const std::byte* ahead = next.data + column / kGroup * weight.groups() * ahead_bytes;
    if (weight.block_size <= IntegerDot<Kind::kBits>::kPartialInputs) {
      multiply_quantized_registers<Kind, kTokens, kVectors, kAhead, true>(x, weight, panel, column,
                                                                          out, ahead, ahead_bytes);
    } else if constexpr (IntegerDot<Kind::kBits>::kPartialInputs < QuantizedWeight::kLargestBlock) {
      multiply_quantized_registers<Kind, kTokens, kVectors, kAhead, false>(x, weight, panel, column,
                                                                           out, ahead, ahead_bytes);
    }
  }
}

/// out [tokens, kPanelColumns] = x · panel, a few tokens at a time.
template <class Kind>
HWY_INLINE void multiply_quantized(QuantizedTokens x, std::int64_t tokens,
                                   const QuantizedWeight& weight, std::int64_t panel, float* out) {
  if (tokens == 1) {  // every weight is used once: one stream of memory
    multiply_quantized_tile<Kind, false>(x, tokens, weight, panel, out, {});
    return;
  }
  std::int64_t tiles = divide_up(tokens, std::int64_t{kTileTokens});
  auto next = NextPart::fetched_by(tiles * weight.groups(),
                                   weight.values + (panel + 1) * weight.panel_bytes(),
                                   weight.panel_bytes());
  for (; tokens > 0; --tiles) {
    const std::int64_t some = divide_up(tokens, tiles);  // all about as many
    multiply_quantized_tile<Kind, true>(x, some, weight, panel, out, next);
    x = x.from_token(some, weight);
    out += some * kPanelColumns;
    next.data += weight.groups() * next.row_bytes;
    tokens -= some;
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
