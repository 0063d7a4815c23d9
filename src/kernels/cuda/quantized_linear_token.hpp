// A single token's product with weights of 8 and 4 bits.
#pragma once

#include "kernels/cuda/quantized_linear_cuda.hpp"
#include "kernels/cuda/quantized_tokens.hpp"

namespace kvcache::kernels {

/// Whether the product is one for quantized_linear_token().
bool quantized_token_fits(const QuantizedLinearCudaArgs& args);

/// As quantized_linear_cuda(), for one token.
cudaError_t quantized_linear_token(const QuantizedLinearCudaArgs& args,
                                   const QuantizedColumns& columns, int multiprocessors,
                                   cudaStream_t stream);

}  // namespace kvcache::kernels
