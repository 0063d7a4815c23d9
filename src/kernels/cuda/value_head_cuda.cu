// The value head, a block for each token: its products are too small to share among blocks.
//
// The token, normalized, and each layer's results are in shared memory. A warp takes four outputs
// of a product at a time, so that enough loads are on their way.
#include <algorithm>

#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/norm_rows.cuh"
#include "kernels/cuda/value_head_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kOutputsAtOnce = 4;
constexpr std::size_t kMaxSharedBytes = std::size_t{200} << 10;

/// The token, and the results of two layers in turn.
std::size_t shared_bytes(std::int64_t inputs, std::int64_t widest) {
  return static_cast<std::size_t>(inputs + 2 * widest) * sizeof(float);
}

__device__ float activate(ValueActivation activation, float x) {
  switch (activation) {
    case ValueActivation::identity:
      return x;
    case ValueActivation::relu:
      return fmaxf(x, 0.0F);
    case ValueActivation::gelu_erf:
      return gelu_erf(x);
    case ValueActivation::tanh:
      return tanhf(x);
    case ValueActivation::sigmoid:
      return sigmoid(x);
  }
  return x;
}

/// x · weightᵀ + bias, by all warps, into shared memory.
template <typename T>
__device__ void product(const float* x, int inputs, const T* weight, const T* bias, int outputs,
                        float* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int first = warp * kOutputsAtOnce; first < outputs; first += kWarps * kOutputsAtOnce) {
    float sum[kOutputsAtOnce] = {};
    for (int i = lane; i < inputs; i += 32) {
#pragma unroll
      for (int o = 0; o < kOutputsAtOnce; ++o) {
        if (first + o < outputs) {
          sum[o] += x[i] * to_float(weight[std::int64_t{first + o} * inputs + i]);
        }
      }
    }
#pragma unroll
    for (int o = 0; o < kOutputsAtOnce; ++o) {
      const float total = sum_of_lanes(sum[o]);
      if (lane == o && first + o < outputs) {
        to[first + o] = total + to_float(bias[first + o]);
      }
    }
  }
  __syncthreads();
}

/// The layer's norm, where it has one, and its activation, in place; every warp finds the moments.
template <typename T>
__device__ void norm_and_activate(const ValueHeadCudaArgs<T>& args,
                                  const ValueLayerCudaArgs<T>& layer, float* values) {
  const int outputs = static_cast<int>(layer.outputs);
  float2 moments = {0, 1};
  if (layer.norm_weight != nullptr) {
    moments = mean_and_scale(values, outputs, args.layer_epsilon);
    __syncthreads();
  }
  for (int i = static_cast<int>(threadIdx.x); i < outputs; i += kThreads) {
    float value = values[i];
    if (layer.norm_weight != nullptr) {
      value = (value - moments.x) * moments.y * to_float(layer.norm_weight[i]) +
              to_float(layer.norm_bias[i]);
    }
    values[i] = activate(args.activation, value);
  }
  __syncthreads();
}

/// Grid: tokens.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    value_head_kernel(ValueHeadCudaArgs<T> args, int widest) {
  extern __shared__ float token[];  // [inputs], then [2, widest]
  let_next_kernel_start();
  wait_for_previous_kernel();
  stage_rows<1>(
      args.x, args.norm, 1, static_cast<int>(args.inputs),
      [&](int) {
        return args.positions != nullptr ? args.positions[blockIdx.x] : std::int64_t{blockIdx.x};
      },
      token);
  const float* x = token;
  int width = static_cast<int>(args.inputs);
#pragma unroll
  for (int number = 0; number < static_cast<int>(kMostValueLayers); ++number) {
    if (number < args.num_layers) {
      const ValueLayerCudaArgs<T>& layer = args.layers[number];
      float* const results = token + args.inputs + number % 2 * widest;
      product(x, width, layer.weight, layer.bias, static_cast<int>(layer.outputs), results);
      norm_and_activate(args, layer, results);
      x = results;
      width = static_cast<int>(layer.outputs);
    }
  }
  if (threadIdx.x < 32) {
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < width; i += 32) {
      sum += x[i] * to_float(args.output_weight[i]);
    }
    sum = sum_of_lanes(sum) + to_float(args.output_bias[0]);
    if (threadIdx.x == 0) {
      const T value = from_float<T>(activate(args.output_activation, sum));
      args.out[blockIdx.x] = value;
      if (args.host_out != nullptr) {
        __threadfence_system();  // who sees it there may read it here
        args.host_out[blockIdx.x] = value;
      }
    }
  }
}

}  // namespace

bool value_head_fits(std::int64_t inputs, std::int64_t widest) {
  constexpr auto kMost = static_cast<std::int64_t>(kMaxSharedBytes / sizeof(float));
  return inputs <= kMost && widest <= kMost && shared_bytes(inputs, widest) <= kMaxSharedBytes;
}

template <typename T>
cudaError_t value_head_cuda(const ValueHeadCudaArgs<T>& args, cudaStream_t stream) {
  std::int64_t widest = 0;
  for (int layer = 0; layer < args.num_layers; ++layer) {
    widest = std::max(widest, args.layers[layer].outputs);
  }
  if (!value_head_fits(args.inputs, widest)) {
    return cudaErrorInvalidValue;
  }
  const std::size_t bytes = shared_bytes(args.inputs, widest);
  static const cudaError_t more_shared =
      cudaFuncSetAttribute(value_head_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(kMaxSharedBytes));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  return launch(value_head_kernel<T>, dim3(static_cast<unsigned>(args.tokens)), kThreads, bytes,
                stream, args, static_cast<int>(widest));
}

template cudaError_t value_head_cuda(const ValueHeadCudaArgs<float>&, cudaStream_t);
template cudaError_t value_head_cuda(const ValueHeadCudaArgs<__half>&, cudaStream_t);
template cudaError_t value_head_cuda(const ValueHeadCudaArgs<__nv_bfloat16>&, cudaStream_t);

}  // namespace kvcache::kernels
