// Activations rounded to int8, as docs/MODEL_FILE.md says it.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_QUANTIZE_TOKENS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_QUANTIZE_TOKENS_INL_HPP_
#undef KVCACHE_KERNELS_QUANTIZE_TOKENS_INL_HPP_
#else
#define KVCACHE_KERNELS_QUANTIZE_TOKENS_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/quantized_tile-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr float kLargestInt8 = 127.0F;
inline constexpr float kSmallestMaximum = 1e-30F;  // so that a block of zeros has a finite inverse

struct QuantizedBlock {
  float scale;
  std::int32_t sum;  // of the values
};

/// `size` elements, a multiple of 16, to int8. The largest becomes ±127; NaN and Inf end up in the
/// scale.
HWY_INLINE QuantizedBlock quantize_block(const float* HWY_RESTRICT x, std::int64_t size,
                                         std::int8_t* HWY_RESTRICT values) {
  const hn::CappedTag<float, 16> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::Rebind<std::int8_t, decltype(df)> bytes_tag;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
  auto largest = hn::Set(df, kSmallestMaximum);
  auto not_finite = hn::Zero(df);
  for (std::int64_t i = 0; i < size; i += lanes) {
    const auto element = hn::LoadU(df, x + i);
    largest = hn::Max(largest, hn::Abs(element));
    not_finite = hn::MulAdd(element, hn::Zero(df), not_finite);
  }
  const float maximum = hn::GetLane(hn::MaxOfLanes(df, largest));
  const auto inverse = hn::Set(df, kLargestInt8 / maximum);
  auto sums = hn::Zero(di);
  for (std::int64_t i = 0; i < size; i += lanes) {
    const auto nearest = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), inverse));
    const auto rounded =
        hn::Min(hn::Max(nearest, hn::Set(di, -127)), hn::Set(di, 127));  // NaN, Inf
    hn::StoreU(hn::DemoteTo(bytes_tag, rounded), bytes_tag, values + i);
    sums = hn::Add(sums, rounded);
  }
  return {maximum / kLargestInt8 + hn::GetLane(hn::SumOfLanes(df, not_finite)),
          hn::GetLane(hn::SumOfLanes(di, sums))};
}

/// One token x [weight.inputs] to values, scales and offsets of `to`.
HWY_INLINE void quantize_token(const float* x, const QuantizedWeight& weight,
                               const QuantizedTokens& to) {
  HWY_ALIGN float last[QuantizedWeight::kLargestBlock];
  for (std::int64_t block = 0; block < weight.blocks(); ++block) {
    const std::int64_t first = block * weight.block_size;
    const float* from = x + first;
    if (const std::int64_t left = weight.inputs - first; left < weight.block_size) {
      std::fill(std::copy_n(from, left, last), last + weight.block_size, 0.0F);
      from = last;
    }
    const std::int64_t at = block * to.tile;
    const QuantizedBlock made =
        quantize_block(from, weight.block_size, to.values + at * weight.block_size);
    to.scales[at] = made.scale;
    to.offsets[at] = weight.minimums ? made.sum : -weight.zero_point() * made.sum;
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
