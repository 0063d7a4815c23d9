// Values of 16 bits as float32: logits that are read.
#pragma once

#include <cstdint>

#include "base/float16.hpp"

namespace kvcache::kernels {

/// to[i] = from[i], exactly; a NaN stays one. `to` [count] does not overlap `from`.
void widen_cpu(const Float16* from, std::int64_t count, float* to);
void widen_cpu(const BFloat16* from, std::int64_t count, float* to);

}  // namespace kvcache::kernels
