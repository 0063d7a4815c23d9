// A gated product of one token, as decoding needs it: both matrices in one kernel.
//
// A thread block takes a strip of columns as wide as a memory sector, half of its threads of the
// gate, half of up, and has a ring of loads on its way at all times, the first of them before the
// kernel that computes x has ended.
#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/norm_rows.cuh"
#include "kernels/cuda/scatter_sums.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kPanel = static_cast<int>(kPanelColumns);
constexpr int kSectorBytes = 32;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kAhead = 8;
constexpr int kStep = kThreads / 4;  // inputs that the block takes at once
constexpr std::size_t kMaxSharedBytes = std::size_t{200} << 10;

/// Grid: strips of columns.
template <typename T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 4 : 2)
    gated_linear_one_row_kernel(GatedLinearCudaArgs<T> args) {
  using Weights = Vector<T>;
  constexpr int kVector = 16 / sizeof(T);
  constexpr int kColumns = kSectorBytes / sizeof(T);
  extern __shared__ float token[];  // [inputs]
  __shared__ float sums[kWarps][kColumns];

  let_next_kernel_start();
  const int inputs = static_cast<int>(args.inputs);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int half = lane % 2;
  const int matrix = warp / (kWarps / 2);
  const int first_input = static_cast<int>(threadIdx.x) % (kThreads / 2) / 2;
  const std::int64_t first_column = std::int64_t{blockIdx.x} * kColumns;
  const T* weight = args.weight + (2 * (first_column / kPanel) + matrix) * kPanel * args.inputs +
                    first_column % kPanel + half * kVector;
  Weights ring[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    const int input = first_input + i * kStep;
    ring[i] = input < inputs ? Weights::load_once(weight + std::int64_t{input} * kPanel)
                             : Weights::zero();
  }
  const std::int64_t column = first_column + threadIdx.x;
  const bool has_out = threadIdx.x < kColumns && column < args.outputs;
  const bool biased = has_out && args.bias != nullptr;
  const float gate_bias = biased ? to_float(args.bias[column]) : 0.0F;
  const float up_bias = biased ? to_float(args.bias[args.outputs + column]) : 0.0F;

  wait_for_previous_kernel();
  stage_rows<1>(
      args.x, args.norm, 1, inputs, [](int) { return std::int64_t{0}; }, token);
  float sum[kVector] = {};
  for (int base = first_input; base < inputs; base += kAhead * kStep) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int input = base + i * kStep;
      const Weights now = ring[i];
      const int next = input + kAhead * kStep;
      if (next < inputs) {
        ring[i] = Weights::load_once(weight + std::int64_t{next} * kPanel);
      }
      if (input < inputs) {
        const float x = token[input];
#pragma unroll
        for (int c = 0; c < kVector; ++c) {
          sum[c] += x * to_float(now.elements[c]);
        }
      }
    }
  }
  const int first = scatter_sums(sum, lane);
  if ((lane & (32 / kVector - 2)) == 0) {
    sums[warp][half * kVector + first] = sum[0];
  }
  __syncthreads();
  if (has_out) {
    float gate = gate_bias;
    float up = up_bias;
#pragma unroll
    for (int i = 0; i < kWarps / 2; ++i) {
      gate += sums[i][threadIdx.x];
      up += sums[kWarps / 2 + i][threadIdx.x];
    }
    args.out[column] = from_float<T>(activated(args.activation, gate) * up);
  }
}

}  // namespace

template <typename T>
cudaError_t gated_linear_one_row(const GatedLinearCudaArgs<T>& args, cudaStream_t stream) {
  constexpr int kColumns = kSectorBytes / sizeof(T);
  const auto kernel = gated_linear_one_row_kernel<T>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kMaxSharedBytes));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  return launch(kernel, dim3(static_cast<unsigned>(divide_up(args.outputs, kColumns))), kThreads,
                static_cast<std::size_t>(args.inputs) * sizeof(float), stream, args);
}

template cudaError_t gated_linear_one_row(const GatedLinearCudaArgs<float>&, cudaStream_t);
template cudaError_t gated_linear_one_row(const GatedLinearCudaArgs<__half>&, cudaStream_t);
template cudaError_t gated_linear_one_row(const GatedLinearCudaArgs<__nv_bfloat16>&, cudaStream_t);

}  // namespace kvcache::kernels
