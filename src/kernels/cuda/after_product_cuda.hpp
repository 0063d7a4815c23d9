// What stands behind a product and is no part of it on CUDA: kernels of their own.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/activation.hpp"

namespace kvcache::kernels {

/// Columns of a gated product as the panels of its weight have them: gate and up alternate, each
/// filled up to whole panels.
std::int64_t gated_columns(std::int64_t outputs);

/// out = activation(gate + its bias) · (up + its bias). All pointers are of the device.
template <typename T>
struct GateCudaArgs {
  const T* product = nullptr;  // [tokens, gated_columns(outputs)]
  const T* bias = nullptr;     // [2 · outputs], the gate's first; or null
  T* out = nullptr;            // [tokens, outputs]
  std::int64_t tokens = 0;
  std::int64_t outputs = 0;
  Activation activation = Activation::none;
};

/// out = residual + rms_norm(product).
template <typename T>
struct NormedSumCudaArgs {
  const T* product = nullptr;      // [tokens, size]
  const T* norm_weight = nullptr;  // [size]
  const T* residual = nullptr;     // [tokens, size], or null
  T* out = nullptr;                // [tokens, size]
  std::int64_t tokens = 0;
  std::int64_t size = 0;
  float epsilon = 0;
};

/// T is float, __half or __nv_bfloat16; arithmetic is float32.
template <typename T>
cudaError_t gate_cuda(const GateCudaArgs<T>& args, cudaStream_t stream);

template <typename T>
cudaError_t normed_sum_cuda(const NormedSumCudaArgs<T>& args, cudaStream_t stream);

/// logits = soft_cap · tanh(logits / soft_cap), in place.
template <typename T>
cudaError_t cap_logits_cuda(T* logits, std::int64_t count, float soft_cap, cudaStream_t stream);

}  // namespace kvcache::kernels
