// Products of a few tokens with weights of 8 and 4 bits.
#pragma once

#include "kernels/cuda/quantized_linear_cuda.hpp"
#include "kernels/cuda/quantized_tokens.hpp"

namespace kvcache::kernels {

/// Whether the product is one for quantized_linear_few(): up to four tokens, or one with float32
/// accuracy.
bool quantized_few_fit(const QuantizedLinearCudaArgs& args);

/// As quantized_linear_cuda(), without a kernel that rounds tokens before.
cudaError_t quantized_linear_few(const QuantizedLinearCudaArgs& args,
                                 const QuantizedColumns& columns, int multiprocessors,
                                 cudaStream_t stream);

}  // namespace kvcache::kernels
