// Matrix products of bfloat16: activations are rounded to the weights' type, sums are float32.
#pragma once

#include "base/float16.hpp"
#include "kernels/cpu/linear_cpu.hpp"

namespace kvcache::kernels {

/// linear_cpu of x with each element rounded to bfloat16, to nearest even. For many tokens in half
/// the time where the processor multiplies pairs of bfloat16.
/// A few tokens are faster in float32, with other bits: not where they must be `invariant`.
void bfloat16_linear_cpu(const LinearArgs<BFloat16>& args, const ParallelFor& parallel_for,
                         bool invariant = false);

/// The same for head_cpu.
void bfloat16_head_cpu(const HeadArgs<BFloat16>& args, const ParallelFor& parallel_for,
                       bool invariant = false);

/// Whether this processor multiplies pairs of bfloat16 itself.
bool multiplies_bfloat16();

}  // namespace kvcache::kernels
