// Products with weights on CUDA, with what stands before and behind them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/activation.hpp"

namespace kvcache::kernels {

/// Norm of the last axis; none when `weight` is null.
template <typename T>
struct NormArgs {
  const T* weight = nullptr;  // [inputs]
  const T* bias = nullptr;    // [inputs], or null
  float epsilon = 0;
  bool is_rms = false;  // x / root of the mean of squares, otherwise about the mean
};

/// out = residual + activation(norm(x) · weight + bias). All pointers are of the device.
template <typename T>
struct LinearCudaArgs {
  const T* x = nullptr;         // [tokens, inputs]
  NormArgs<T> norm;             //
  const T* weight = nullptr;    // [ceil(outputs / 64), inputs, 64]
  const T* bias = nullptr;      // [outputs], or null
  const T* residual = nullptr;  // [tokens, outputs], or null
  T* out = nullptr;             // [tokens, outputs]
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  bool gelu = false;  // the tanh approximation; otherwise no activation
};

/// out = activation(gate) · up, both of one product.
template <typename T>
struct GatedLinearCudaArgs {
  LinearCudaArgs<T> product;  // weight: panels of gate and up in turns; bias [2 · outputs]
  Activation activation = Activation::none;
};

/// out = norm(chosen rows of x) · weightᵀ.
template <typename T>
struct HeadCudaArgs {
  const T* x = nullptr;                     // [tokens of the run, inputs]
  const std::int64_t* positions = nullptr;  // [tokens], rows of x; null: all
  NormArgs<T> norm;                         //
  const T* weight = nullptr;                // [outputs, inputs]
  T* out = nullptr;                         // [tokens, outputs]
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

/// Whether the kernels below take this many tokens: each reads the weights once for up to eight
/// tokens, and holds the tokens in shared memory.
bool few_rows_fit(std::int64_t tokens, std::int64_t inputs);

/// T is float, __half or __nv_bfloat16; sums are float32.
template <typename T>
cudaError_t linear_few_rows(const LinearCudaArgs<T>& args, cudaStream_t stream);

/// Whether linear_by_warpgroup() takes this product on the current device, apart from its norm.
template <typename T>
bool linear_warpgroups_fit(const LinearCudaArgs<T>& args);
template <typename T>
bool linear_warpgroups_fit(const GatedLinearCudaArgs<T>& args);

/// The same on tensor cores for any number of tokens, which are normalized already: `norm` is not
/// looked at. T is
/// __half or __nv_bfloat16; sums are float32, and rounded once.
template <typename T>
cudaError_t linear_by_warpgroup(const LinearCudaArgs<T>& args, int multiprocessors,
                                cudaStream_t stream);
template <typename T>
cudaError_t linear_by_warpgroup(const GatedLinearCudaArgs<T>& args, int multiprocessors,
                                cudaStream_t stream);

/// Whether linear_split() takes a product of this shape.
bool linear_split_fits(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs);

/// The same in float32 on tensor cores, for any number of tokens, which are normalized already:
/// `norm` is not looked at. A product's error is below 2⁻²¹ of its terms' magnitudes.
cudaError_t linear_split(const LinearCudaArgs<float>& args, int multiprocessors,
                         cudaStream_t stream);

template <typename T>
cudaError_t head_few_rows(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream);

/// Whether head_some_rows() takes this many tokens.
bool head_some_rows_fit(std::int64_t tokens, std::int64_t inputs);

/// The same for up to 64 tokens on tensor cores; T is __half or __nv_bfloat16. x is normalized and
/// chosen already: `norm` and `positions` are not looked at.
template <typename T>
cudaError_t head_some_rows(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream);

/// Whether head_split() takes a product of this shape.
bool head_split_fits(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs);

/// The same in float32, as linear_split(); `norm` and `positions` are not looked at.
cudaError_t head_split(const HeadCudaArgs<float>& args, int multiprocessors, cudaStream_t stream);

/// Whether head_by_warpgroup() takes this product on the current device, apart from its norm.
template <typename T>
bool head_warpgroups_fit(const HeadCudaArgs<T>& args);

/// The same for any number of tokens, on devices of sm_90.
template <typename T>
cudaError_t head_by_warpgroup(const HeadCudaArgs<T>& args, int multiprocessors,
                              cudaStream_t stream);

/// The norm of [tokens, inputs], of chosen rows when `positions` is given; what a library's
/// matrix product needs done before it.
template <typename T>
cudaError_t norm_rows(const T* x, const std::int64_t* positions, const NormArgs<T>& norm,
                      std::int64_t tokens, std::int64_t inputs, T* out, cudaStream_t stream);

/// out = residual + activation(out + bias), in place; what it needs done behind it.
template <typename T>
cudaError_t linear_epilogue(const LinearCudaArgs<T>& args, cudaStream_t stream);

}  // namespace kvcache::kernels
