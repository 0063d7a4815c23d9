#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/after_product_cuda.hpp"
#include "kernels/cuda/device_code.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kPanel = static_cast<int>(kPanelColumns);

unsigned blocks_for(std::int64_t count) {
  return static_cast<unsigned>(divide_up(count, kThreads));
}

/// Grid: tokens, outputs.
template <typename T>
__global__ void __launch_bounds__(kThreads) gate_kernel(GateCudaArgs<T> args) {
  let_next_kernel_start();
  const std::int64_t output = std::int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (output >= args.outputs) {
    wait_for_previous_kernel();
    return;
  }
  const bool biased = args.bias != nullptr;
  const float gate_bias = biased ? to_float(args.bias[output]) : 0.0F;
  const float up_bias = biased ? to_float(args.bias[args.outputs + output]) : 0.0F;
  const std::int64_t panels = divide_up(args.outputs, kPanel);
  const T* product = args.product + std::int64_t{blockIdx.x} * 2 * panels * kPanel +
                     output / kPanel * 2 * kPanel + output % kPanel;
  wait_for_previous_kernel();
  const float gate = to_float(product[0]) + gate_bias;
  const float up = to_float(product[kPanel]) + up_bias;
  args.out[std::int64_t{blockIdx.x} * args.outputs + output] =
      from_float<T>(activated(args.activation, gate) * up);
}

/// Grid: tokens.
template <typename T>
__global__ void __launch_bounds__(kThreads) normed_sum_kernel(NormedSumCudaArgs<T> args) {
  __shared__ float sums[kWarps];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const std::int64_t row = std::int64_t{blockIdx.x} * args.size;
  float squares = 0;
  for (std::int64_t i = threadIdx.x; i < args.size; i += kThreads) {
    const float x = to_float(args.product[row + i]);
    squares += x * x;
  }
  squares = sum_of_block(squares, sums);
  const float scale = rsqrtf(squares / static_cast<float>(args.size) + args.epsilon);
  for (std::int64_t i = threadIdx.x; i < args.size; i += kThreads) {
    const float normed = to_float(args.product[row + i]) * scale * to_float(args.norm_weight[i]);
    const float residual = args.residual != nullptr ? to_float(args.residual[row + i]) : 0.0F;
    args.out[row + i] = from_float<T>(residual + normed);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    cap_logits_kernel(T* logits, std::int64_t count, float soft_cap) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) {
    logits[i] = from_float<T>(soft_cap * tanhf(to_float(logits[i]) / soft_cap));
  }
}

}  // namespace

std::int64_t gated_columns(std::int64_t outputs) {
  return 2 * panel_count(outputs) * kPanelColumns;
}

template <typename T>
cudaError_t gate_cuda(const GateCudaArgs<T>& args, cudaStream_t stream) {
  return launch(gate_kernel<T>, dim3(static_cast<unsigned>(args.tokens), blocks_for(args.outputs)),
                kThreads, 0, stream, args);
}

template <typename T>
cudaError_t normed_sum_cuda(const NormedSumCudaArgs<T>& args, cudaStream_t stream) {
  return launch(normed_sum_kernel<T>, dim3(static_cast<unsigned>(args.tokens)), kThreads, 0, stream,
                args);
}

template <typename T>
cudaError_t cap_logits_cuda(T* logits, std::int64_t count, float soft_cap, cudaStream_t stream) {
  return launch(cap_logits_kernel<T>, dim3(blocks_for(count)), kThreads, 0, stream, logits, count,
                soft_cap);
}

template cudaError_t gate_cuda(const GateCudaArgs<float>&, cudaStream_t);
template cudaError_t gate_cuda(const GateCudaArgs<__half>&, cudaStream_t);
template cudaError_t gate_cuda(const GateCudaArgs<__nv_bfloat16>&, cudaStream_t);
template cudaError_t normed_sum_cuda(const NormedSumCudaArgs<float>&, cudaStream_t);
template cudaError_t normed_sum_cuda(const NormedSumCudaArgs<__half>&, cudaStream_t);
template cudaError_t normed_sum_cuda(const NormedSumCudaArgs<__nv_bfloat16>&, cudaStream_t);
template cudaError_t cap_logits_cuda(float*, std::int64_t, float, cudaStream_t);
template cudaError_t cap_logits_cuda(__half*, std::int64_t, float, cudaStream_t);
template cudaError_t cap_logits_cuda(__nv_bfloat16*, std::int64_t, float, cudaStream_t);

}  // namespace kvcache::kernels
