// The logarithm of a softmax's denominator.
#pragma once

#include <cstdint>

namespace kvcache::kernels {

/// log Σ exp(values[i]), of at least one value and no NaN. Relative to the largest value, so that
/// nothing overflows.
float log_sum_exp_cpu(const float* values, std::int64_t count);

}  // namespace kvcache::kernels
