// The norm alone, before a library's product: a warp has a row in registers, so that it is read
// once and nobody waits for anybody. Rows of other lengths go through shared memory, a block each.
#include "base/rounding.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/norm_rows.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;     // of a row in shared memory
constexpr int kRowThreads = 128;  // of a row in registers
constexpr int kMostSteps = 4;

template <typename T>
constexpr int kVector = 16 / sizeof(T);

/// Grid: tokens. A row has at most kSteps · kRowThreads whole vectors.
template <typename T, int kSteps>
__global__ void __launch_bounds__(kRowThreads)
    norm_rows_in_registers_kernel(const T* x, const std::int64_t* positions, NormArgs<T> norm,
                                  int inputs, T* out) {
  constexpr int kSize = kVector<T>;
  __shared__ float sums[2][kRowThreads / 32];
  const auto at = [&](int step) {
    return (step * kRowThreads + static_cast<int>(threadIdx.x)) * kSize;
  };
  const std::int64_t token = blockIdx.x;
  let_next_kernel_start();
  Vector<T> weights[kSteps];
  Vector<T> biases[kSteps];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const bool exists = at(step) < inputs;
    weights[step] = Vector<T>::load_if(exists, norm.weight + at(step));
    biases[step] = Vector<T>::load_if(exists && norm.bias != nullptr, norm.bias + at(step));
  }
  wait_for_previous_kernel();
  const T* row = x + (positions != nullptr ? positions[token] : token) * inputs;
  float own[kSteps][kSize];
  float sum = 0;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    widen(Vector<T>::load_if(at(step) < inputs, row + at(step)), own[step]);
#pragma unroll
    for (const float value : own[step]) {
      sum += value;
    }
  }
  // Two passes: the mean, then the squares about it.
  const float mean = norm.is_rms ? 0.0F : sum_of_block(sum, sums[0]) / static_cast<float>(inputs);
  float squares = 0;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    float of_step = 0;
#pragma unroll
    for (float& value : own[step]) {
      value -= mean;
      of_step += value * value;
    }
    squares += at(step) < inputs ? of_step : 0.0F;
  }
  const float scale =
      rsqrtf(sum_of_block(squares, sums[1]) / static_cast<float>(inputs) + norm.epsilon);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    float factors[kSize];
    float shifts[kSize];
    widen(weights[step], factors);
    widen(biases[step], shifts);
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      own[step][i] = own[step][i] * scale * factors[i] + shifts[i];
    }
    if (at(step) < inputs) {
      rounded_to<T>(own[step]).store(out + token * inputs + at(step));
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
  constexpr int kStep = kRowThreads * kVector<T>;
  const auto in_registers = [&](auto kernel) {
    return launch(kernel, dim3(static_cast<unsigned>(tokens)), kRowThreads, 0, stream, x, positions,
                  norm, static_cast<int>(inputs), out);
  };
  if (inputs % kVector<T> == 0 && inputs <= kMostSteps * kStep) {
    return inputs <= kStep       ? in_registers(norm_rows_in_registers_kernel<T, 1>)
           : inputs <= 2 * kStep ? in_registers(norm_rows_in_registers_kernel<T, 2>)
                                 : in_registers(norm_rows_in_registers_kernel<T, kMostSteps>);
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
