// Matrix products of bfloat16: activations are rounded to the weights' type, sums are float32.
#pragma once

#include "base/float16.hpp"
#include "kernels/cpu/linear_cpu.hpp"

namespace kvcache::kernels {

/// linear_cpu of x with each element rounded to bfloat16, to nearest even. For many tokens in half
/// the time where the processor multiplies pairs of bfloat16.
void bfloat16_linear_cpu(const LinearArgs<BFloat16>& args, const ParallelFor& parallel_for);

/// The same for head_cpu.
void bfloat16_head_cpu(const HeadArgs<BFloat16>& args, const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
