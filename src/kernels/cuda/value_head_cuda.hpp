// The value head of a model on CUDA: a few small products of the final norm of a token, each with a
// norm and an activation function, down to one number.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/value_activation.hpp"

namespace kvcache::kernels {

/// x · weightᵀ + bias, then a layer norm where norm_weight is there.
template <typename T>
struct ValueLayerCudaArgs {
  const T* weight = nullptr;       // [outputs, inputs]
  const T* bias = nullptr;         // [outputs]
  const T* norm_weight = nullptr;  // [outputs], null for no norm
  const T* norm_bias = nullptr;    // [outputs]
  std::int64_t outputs = 0;
};

/// All pointers are of the device.
template <typename T>
struct ValueHeadCudaArgs {
  const T* x = nullptr;                     // [tokens of the run, inputs]
  const std::int64_t* positions = nullptr;  // [tokens], rows of x; null: all
  NormArgs<T> norm;                         // the final one
  ValueLayerCudaArgs<T> layers[kMostValueLayers];
  int num_layers = 0;
  const T* output_weight = nullptr;  // [inputs of the output]
  const T* output_bias = nullptr;    // [1]
  float layer_epsilon = 0;           // of the layers' norms
  ValueActivation activation = ValueActivation::relu;
  ValueActivation output_activation = ValueActivation::tanh;
  T* out = nullptr;       // [tokens]
  T* host_out = nullptr;  // [tokens], of the host, or null: there too
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;
};

/// Whether value_head_cuda() takes a token of `inputs` numbers and layers of at most `widest`: it
/// holds them in a block's shared memory.
bool value_head_fits(std::int64_t inputs, std::int64_t widest);

/// T is float, __half or __nv_bfloat16; all arithmetic is float32, and only the result is rounded.
template <typename T>
cudaError_t value_head_cuda(const ValueHeadCudaArgs<T>& args, cudaStream_t stream);

}  // namespace kvcache::kernels
