// The largest of a vocabulary's logits, in one pass and without a copy of it.
#pragma once

#include <cstdint>
#include <vector>

namespace kvcache::kernels {

/// Puts into `chosen` the indices of the `k` largest of `count` logits and of all that equal the
/// last of these, in the order of comes_before(). 0 < k ≤ count. `chosen` grows to a small multiple
/// of what it returns and keeps its memory.
void top_k_cpu(const float* logits, std::int64_t count, std::int64_t k,
               std::vector<std::int32_t>& chosen);

}  // namespace kvcache::kernels
