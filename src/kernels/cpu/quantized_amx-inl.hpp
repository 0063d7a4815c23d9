// The product of many tokens, rounded to int8, with a panel of quantised weights, in tiles.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_QUANTIZED_AMX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_QUANTIZED_AMX_INL_HPP_
#undef KVCACHE_KERNELS_QUANTIZED_AMX_INL_HPP_
#else
#define KVCACHE_KERNELS_QUANTIZED_AMX_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "base/rounding.hpp"
#include "hwy/highway.h"
#include "kernels/cpu/amx.hpp"
#include "kernels/cpu/integer_dot-inl.hpp"
#include "kernels/cpu/prefetch-inl.hpp"
#include "kernels/cpu/quantized_cpu.hpp"
#include "kernels/cpu/quantized_tile-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

#undef KVCACHE_QUANTIZED_AMX
#if HWY_ARCH_X86_64 && KVCACHE_INTEGER_DOT == 2
#define KVCACHE_QUANTIZED_AMX 1
#else
#define KVCACHE_QUANTIZED_AMX 0
#endif

#if KVCACHE_QUANTIZED_AMX
HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Weights of 8 bits as they lie in a panel: a row of a tile is a group of four inputs.
inline constexpr std::int64_t kGroupBytes = kPanelColumns * QuantizedWeight::kGroupInputs;

/// Up to this many inputs of a panel are used on all tokens before the next: 16 KiB, which stay in
/// the first-level cache. A whole number of blocks.
inline constexpr std::int64_t kAmxPartInputs = QuantizedWeight::kLargestBlock;

/// Groups of 4 bits, [depth / 8, kGroupBytes], as groups of bytes, [depth / 4, kGroupBytes].
HWY_INLINE void unpack_groups(const std::uint8_t* HWY_RESTRICT packed, std::int64_t depth,
                              std::uint8_t* HWY_RESTRICT groups) {
  const hn::ScalableTag<std::uint8_t> d;
  const hn::Repartition<std::uint16_t, decltype(d)> wide;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, 0x0F);
  for (std::int64_t pair = 0; pair < depth / 8; ++pair) {
    for (std::int64_t i = 0; i < kGroupBytes; i += lanes) {
      const auto bytes = hn::LoadU(d, packed + pair * kGroupBytes + i);
      const auto high = hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(wide, bytes)));
      hn::StoreU(hn::And(bytes, low), d, groups + 2 * pair * kGroupBytes + i);
      hn::StoreU(hn::And(high, low), d, groups + (2 * pair + 1) * kGroupBytes + i);
    }
  }
}

/// A part of a panel: whole blocks of all its columns.
struct PanelPart {
  const std::uint8_t* groups;  // [blocks · block size / 4, kGroupBytes]
  const Float16* scales;       // [blocks, scale rows, kPanelColumns]
  std::int64_t first_block;    // of the panel
  std::int64_t blocks;
};

using TileSums = std::int32_t[AmxTiles::kRows * AmxTiles::kRows];
using TileTotals = hn::Vec<hn::ScalableTag<float>>[AmxTiles::kRows];

/// Where a tile's next block begins, on the left and on the right.
struct TileOperands {
  const std::int8_t* values;
  const std::uint8_t* groups;
};

/// The sums of one block: of 16 tokens and 16 columns. kTile: 0 or 1, in turn.
template <int kTile>
HWY_INLINE void multiply_block(TileOperands& at, std::int64_t block_size, TileSums& sums) {
  const std::int64_t depth = std::min(block_size, AmxTiles::kRowBytes);
  AmxTiles::zero<kTile>();
  for (std::int64_t input = 0; input < block_size; input += depth) {
    AmxTiles::load<4 + kTile>(at.values + input, block_size);
    AmxTiles::load<6 + kTile>(at.groups, kGroupBytes);
    AmxTiles::add_int8<kTile, 4 + kTile, 6 + kTile>();
    at.groups += depth / QuantizedWeight::kGroupInputs * kGroupBytes;
  }
  at.values += AmxTiles::kRows * block_size;
  AmxTiles::store<kTile>(sums, AmxTiles::kRows * static_cast<std::int64_t>(sizeof sums[0]));
}

/// totals += what a block adds (`add_block`).
template <class Kind>
HWY_INLINE void add_scaled(const TileSums& sums, const Float16* weight_scales,
                           const float* HWY_RESTRICT scales,
                           const std::int32_t* HWY_RESTRICT offsets, TileTotals& totals) {
  const hn::ScalableTag<float> df;
  const hn::ScalableTag<std::int32_t> di;
  const BlockScales<Kind, hn::ScalableTag<float>> of_block(df, weight_scales);
#pragma GCC unroll 16
  for (std::int64_t t = 0; t < AmxTiles::kRows; ++t) {
    auto sum = hn::Load(di, sums + t * AmxTiles::kRows);
    if constexpr (!Kind::kMinimums) {
      sum = hn::Add(sum, hn::Set(di, offsets[t]));
    }
    totals[t] = add_block(df, hn::ConvertTo(df, sum), of_block, scales[t], offsets[t], totals[t]);
  }
}

/// out[t][c] = (first_block == 0 ? 0 : out[t][c]) + Σ over the part's blocks, as
/// multiply_quantized, for 16 tokens t and 16 columns c from `column` on.
template <class Kind>
HWY_INLINE void multiply_amx_tile(const QuantizedTokens& x, const QuantizedWeight& weight,
                                  const PanelPart& part, std::int64_t column,
                                  float* HWY_RESTRICT out) {
  constexpr std::int64_t kRows = AmxTiles::kRows;
  constexpr std::int64_t kScalesOfBlock = Kind::kScaleRows * kPanelColumns;
  const hn::ScalableTag<float> df;
  const std::int64_t size = weight.block_size;
  const float* scales = x.scales + part.first_block * kRows;
  const std::int32_t* offsets = x.offsets + part.first_block * kRows;
  const Float16* weight_scales = part.scales + column;
  TileOperands at{x.values + part.first_block * kRows * size,
                  part.groups + column * QuantizedWeight::kGroupInputs};
  HWY_ALIGN TileSums even;
  HWY_ALIGN TileSums odd;
  TileTotals totals;
  for (std::int64_t t = 0; t < AmxTiles::kRows; ++t) {
    totals[t] = part.first_block == 0 ? hn::Zero(df) : hn::LoadU(df, out + t * kPanelColumns);
  }
  // While the sums of one block are scaled, the tiles compute those of the next.
  multiply_block<0>(at, size, even);
  for (std::int64_t block = 0; block < part.blocks; block += 2) {
    const std::int64_t next = block + 1;
    if (next < part.blocks) {
      multiply_block<1>(at, size, odd);
    }
    add_scaled<Kind>(even, weight_scales + block * kScalesOfBlock, scales + block * kRows,
                     offsets + block * kRows, totals);
    if (next == part.blocks) {
      break;
    }
    if (next + 1 < part.blocks) {
      multiply_block<0>(at, size, even);
    }
    add_scaled<Kind>(odd, weight_scales + next * kScalesOfBlock, scales + next * kRows,
                     offsets + next * kRows, totals);
  }
  for (std::int64_t t = 0; t < AmxTiles::kRows; ++t) {
    hn::StoreU(totals[t], df, out + t * kPanelColumns);
  }
}

/// multiply_quantized to the same bits, of tokens in tiles of 16. Of x and out there must be memory
/// for whole tiles.
template <class Kind>
HWY_INLINE void multiply_quantized_amx(const QuantizedTokens& x, std::int64_t tokens,
                                       const QuantizedWeight& weight, std::int64_t panel,
                                       float* out) {
  const AmxTiles tiles(std::min(weight.block_size, AmxTiles::kRowBytes));
  constexpr std::int64_t kColumnTiles = kPanelColumns / AmxTiles::kRows;
  const std::int64_t fetches = divide_up(tokens, AmxTiles::kRows) * kColumnTiles;
  const std::int64_t padded_inputs = weight.padded_inputs();
  const std::uint8_t* values = weight.values + panel * weight.panel_bytes();
  constexpr int kBits = Kind::kBits;
  const Float16* scales = weight.scales + panel * weight.panel_scales();
  HWY_ALIGN std::uint8_t unpacked[kBits == 8 ? 1 : kAmxPartInputs * kPanelColumns];
  for (std::int64_t input = 0; input < padded_inputs; input += kAmxPartInputs) {
    const std::int64_t depth = std::min(kAmxPartInputs, padded_inputs - input);
    const std::int64_t bytes = depth * kPanelColumns * kBits / 8;
    const Ahead next_part{values + bytes, divide_up(bytes, fetches)};
    std::int64_t fetch = 0;
    PanelPart part{values, scales, input / weight.block_size, depth / weight.block_size};
    if constexpr (kBits == 4) {
      unpack_groups(values, depth, unpacked);
      part.groups = unpacked;
    }
    for (std::int64_t token = 0; token < tokens; token += AmxTiles::kRows) {
      const QuantizedTokens rows = x.from_token(token, weight);
      for (std::int64_t column = 0; column < kPanelColumns; column += AmxTiles::kRows) {
        next_part.fetch(fetch++);
        multiply_amx_tile<Kind>(rows, weight, part, column, out + token * kPanelColumns + column);
      }
    }
    values += bytes;
    scales += part.blocks * Kind::kScaleRows * kPanelColumns;
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
