// The activation of GPT-2 on the CPU.
#pragma once

#include <cstdint>

namespace kvcache::ops {

/// out[i] = gelu(in[i] + bias[i]) for i in [0, count), with the tanh approximation
/// 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) of Hendrycks & Gimpel 2016 (arXiv:1606.08415),
/// computed as x / (1 + exp(−2u)), which is the same function. `in` and `out` may be one buffer.
void fast_gelu_cpu(const float* in, const float* bias, std::int64_t count, float* out);

}  // namespace kvcache::ops
