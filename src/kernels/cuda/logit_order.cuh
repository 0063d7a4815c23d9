// Which of two tokens is the better one.
#pragma once

#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {

/// Whether a comes before b: the larger logit, NaN before all numbers so that it cannot hide, then
/// the smaller id. A total order, as on the CPU (argmax_cpu.hpp).
__device__ inline bool comes_before(const TopLogit& a, const TopLogit& b) {
  const bool a_is_nan = isnan(a.logit);
  if (a_is_nan != static_cast<bool>(isnan(b.logit))) {
    return a_is_nan;
  }
  return a.logit > b.logit || ((a_is_nan || a.logit == b.logit) && a.token < b.token);
}

constexpr unsigned kSignBit = 0x80000000U;

/// A number that is the larger, the earlier the token comes; never 0.
__device__ inline std::uint64_t place_of(const TopLogit& token) {
  const unsigned bits = __float_as_uint(token.logit + 0.0F);  // -0 equals 0
  const unsigned logit = isnan(token.logit)       ? 0xFFFFFFFFU
                         : (bits & kSignBit) != 0 ? ~bits
                                                  : bits | kSignBit;
  return std::uint64_t{logit} << 32 | (0xFFFFFFFFU - static_cast<unsigned>(token.token));
}

/// The token of a place.
__device__ inline TopLogit token_at(std::uint64_t place) {
  const auto logit = static_cast<unsigned>(place >> 32);
  return {static_cast<std::int32_t>(0xFFFFFFFFU - static_cast<unsigned>(place)),
          __uint_as_float((logit & kSignBit) != 0 ? logit ^ kSignBit : ~logit)};
}

/// The best of `kLanes` neighbouring lanes, in all of them.
template <int kLanes = 32>
__device__ TopLogit best_of_lanes(TopLogit best) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    const TopLogit other{__shfl_xor_sync(kAllLanes, best.token, offset),
                         __shfl_xor_sync(kAllLanes, best.logit, offset)};
    best = comes_before(other, best) ? other : best;
  }
  return best;
}

}  // namespace kvcache::kernels
