// Argmax over a vocabulary, in place: greedy decoding copies no logits.
#pragma once

#include <cmath>
#include <cstdint>

namespace kvcache::kernels {

/// The order of tokens by their logits, a total one: the larger logit first, NaN before all numbers
/// so that it cannot hide, then the smaller id.
inline bool comes_before(float logit, std::int64_t token, float other_logit,
                         std::int64_t other_token) {
  const bool is_nan = std::isnan(logit);
  if (is_nan != std::isnan(other_logit)) {
    return is_nan;
  }
  return logit > other_logit || ((is_nan || logit == other_logit) && token < other_token);
}

/// Index of the first of `count` > 0 floats in that order.
std::int64_t argmax_cpu(const float* values, std::int64_t count);

bool has_nan_cpu(const float* values, std::int64_t count);

}  // namespace kvcache::kernels
