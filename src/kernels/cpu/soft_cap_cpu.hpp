// A soft cap of logits on the CPU.
#pragma once

#include <cstdint>

#include "base/parallel_for.hpp"

namespace kvcache::kernels {

/// x[i] = cap · tanh(x[i] / cap) for i in [0, count), cap > 0.
void soft_cap_cpu(float* x, std::int64_t count, float cap, const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
