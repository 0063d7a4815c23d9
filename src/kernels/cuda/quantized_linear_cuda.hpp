// Products with weights of 8 and 4 bits on CUDA, and rows of such a table.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/activation.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/quantized_weight.hpp"

namespace kvcache::kernels {

/// out = residual + activation(norm(x) · weight + bias); of a weight that is two matrices,
/// activation(gate) · up. All pointers are of the device, those within `weight` too.
struct QuantizedLinearCudaArgs {
  const float* x = nullptr;                 // rows of weight.inputs
  const std::int64_t* positions = nullptr;  // [tokens], rows of x; null: the first `tokens`
  NormArgs<float> norm;                     //
  QuantizedWeight weight;                   //
  const float* bias = nullptr;              // [weight.matrices · weight.outputs], or null
  const float* residual = nullptr;          // [tokens, weight.outputs], or null
  float* out = nullptr;                     // [tokens, weight.outputs]
  std::int64_t tokens = 0;
  Activation activation = Activation::none;
  AccuracyLevel accuracy = AccuracyLevel::int8;
};

/// Bytes of memory that the product needs meanwhile.
std::size_t quantized_linear_scratch(const QuantizedLinearCudaArgs& args);

/// `scratch`: so many bytes of the device, aligned to 16. Integers are multiplied, on tensor cores,
/// whose sums within a block of inputs are exact. With float32 accuracy, x is three of them an
/// element, which differ from it by 2⁻²⁴ of the block's largest.
cudaError_t quantized_linear_cuda(const QuantizedLinearCudaArgs& args, void* scratch,
                                  int multiprocessors, cudaStream_t stream);

/// out[i] = scale · row input_ids[i] of weightᵀ + position_weight[position_ids[i]]. Ids outside the
/// tables give NaN.
struct QuantizedEmbeddingCudaArgs {
  const std::int64_t* input_ids = nullptr;     // [tokens]
  const std::int64_t* position_ids = nullptr;  // [tokens]
  QuantizedWeight weight;                      // its outputs are the vocabulary
  const float* position_weight = nullptr;      // [max_seq_len, weight.inputs], or null
  float* out = nullptr;                        // [tokens, weight.inputs]
  std::int64_t tokens = 0;
  std::int64_t max_seq_len = 0;  // of position_weight
  float scale = 1;
};

cudaError_t quantized_embedding_cuda(const QuantizedEmbeddingCudaArgs& args, cudaStream_t stream);

}  // namespace kvcache::kernels
