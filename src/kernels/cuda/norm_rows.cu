// The norm alone, before a library's product: a warp has a row in registers, so that it is read
// once and nobody waits for anybody. Rows of other lengths go through shared memory, a block each.
#include "base/rounding.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/norm_rows.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;         // of a row in shared memory
constexpr int kRowsOfBlock = 4;       // of rows in registers
constexpr int kStepsWithWeights = 8;  // where there are registers for the norm's weights too

template <typename T>
constexpr int kVector = 16 / sizeof(T);

/// Grid: kRowsOfBlock tokens each. A row has at most kSteps · 32 whole vectors.
template <typename T, int kSteps>
__global__ void __launch_bounds__(32 * kRowsOfBlock)
    norm_rows_of_warps_kernel(const T* x, const std::int64_t* positions, NormArgs<T> norm,
                              int tokens, int inputs, T* out) {
  constexpr int kSize = kVector<T>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int token =
      static_cast<int>(blockIdx.x) * kRowsOfBlock + static_cast<int>(threadIdx.x) / 32;
  const auto at = [&](int step) { return (step * 32 + lane) * kSize; };
  let_next_kernel_start();
  if (token >= tokens) {
    return;
  }
  Vector<T> weights[kSteps];
  Vector<T> biases[kSteps];
  const auto load_weights = [&](int step) {
    weights[step] = Vector<T>::load(norm.weight + at(step));
    biases[step] = norm.bias != nullptr ? Vector<T>::load(norm.bias + at(step)) : Vector<T>::zero();
  };
  if constexpr (kSteps <= kStepsWithWeights) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (at(step) < inputs) {
        load_weights(step);
      }
    }
  }
  wait_for_previous_kernel();
  const T* row = x + (positions != nullptr ? positions[token] : std::int64_t{token}) * inputs;
  Vector<T> own[kSteps];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    own[step] = at(step) < inputs ? Vector<T>::load(row + at(step)) : Vector<T>::zero();
  }
  // Two passes: the mean, then the squares about it.
  float mean = 0;
  if (!norm.is_rms) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      float values[kSize];
      widen(own[step], values);
#pragma unroll
      for (const float value : values) {
        mean += value;
      }
    }
    mean = sum_of_lanes(mean) / static_cast<float>(inputs);
  }
  float squares = 0;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    float values[kSize];
    widen(own[step], values);
    float sum = 0;
#pragma unroll
    for (const float value : values) {
      sum += (value - mean) * (value - mean);
    }
    squares += at(step) < inputs ? sum : 0.0F;
  }
  const float scale = rsqrtf(sum_of_lanes(squares) / static_cast<float>(inputs) + norm.epsilon);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    if (at(step) < inputs) {
      if constexpr (kSteps > kStepsWithWeights) {
        load_weights(step);
      }
      float values[kSize];
      float factors[kSize];
      float shifts[kSize];
      widen(own[step], values);
      widen(weights[step], factors);
      widen(biases[step], shifts);
#pragma unroll
      for (int c = 0; c < kSize; ++c) {
        values[c] = (values[c] - mean) * scale * factors[c] + shifts[c];
      }
      rounded_to<T>(values).store(out + std::int64_t{token} * inputs + at(step));
    }
  }
}

/// Grid: tokens.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    norm_rows_of_blocks_kernel(const T* x, const std::int64_t* positions, NormArgs<T> norm,
                               int inputs, T* out) {
  extern __shared__ float token[];  // [inputs]
  let_next_kernel_start();
  wait_for_previous_kernel();
  stage_rows<1>(
      x, norm, 1, inputs,
      [&](int) { return positions != nullptr ? positions[blockIdx.x] : std::int64_t{blockIdx.x}; },
      token);
  for (int i = static_cast<int>(threadIdx.x); i < inputs; i += kThreads) {
    out[std::int64_t{blockIdx.x} * inputs + i] = from_float<T>(token[i]);
  }
}

}  // namespace

template <typename T>
cudaError_t norm_rows(const T* x, const std::int64_t* positions, const NormArgs<T>& norm,
                      std::int64_t tokens, std::int64_t inputs, T* out, cudaStream_t stream) {
  constexpr int kStep = 32 * kVector<T>;
  const auto of_warps = [&](auto kernel) {
    return launch(kernel, dim3(static_cast<unsigned>(divide_up(tokens, kRowsOfBlock))),
                  32 * kRowsOfBlock, 0, stream, x, positions, norm, static_cast<int>(tokens),
                  static_cast<int>(inputs), out);
  };
  if (inputs % kVector<T> == 0 && inputs <= 16 * kStep) {
    return inputs <= 4 * kStep   ? of_warps(norm_rows_of_warps_kernel<T, 4>)
           : inputs <= 8 * kStep ? of_warps(norm_rows_of_warps_kernel<T, 8>)
                                 : of_warps(norm_rows_of_warps_kernel<T, 16>);
  }
  return launch(norm_rows_of_blocks_kernel<T>, dim3(static_cast<unsigned>(tokens)), kThreads,
                static_cast<std::size_t>(inputs) * sizeof(float), stream, x, positions, norm,
                static_cast<int>(inputs), out);
}

template cudaError_t norm_rows(const float*, const std::int64_t*, const NormArgs<float>&,
                               std::int64_t, std::int64_t, float*, cudaStream_t);
template cudaError_t norm_rows(const __half*, const std::int64_t*, const NormArgs<__half>&,
                               std::int64_t, std::int64_t, __half*, cudaStream_t);
template cudaError_t norm_rows(const __nv_bfloat16*, const std::int64_t*,
                               const NormArgs<__nv_bfloat16>&, std::int64_t, std::int64_t,
                               __nv_bfloat16*, cudaStream_t);

}  // namespace kvcache::kernels
