// Argmax over a vocabulary, in place: greedy decoding copies no logits.
#pragma once

#include <cstdint>

namespace kvcache::ops {

/// Index of the largest of `count` > 0 floats, the first one when several are equal.
std::int64_t argmax_cpu(const float* values, std::int64_t count);

}  // namespace kvcache::ops
