// Logits of few tokens.
//
// A row of the head's weight is an output's: a warp takes four of them at a time, all inputs, so
// that enough loads are on their way; the tokens are in shared memory, normalized.
#include "base/rounding.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/norm_rows.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kOutputsAtOnce = 4;
constexpr int kOneRowBlocks = 4;  // of a multiprocessor: enough loads on their way without a ring
constexpr int kMaxRowsAtOnce = 8;

/// A warp's weights of kOutputs outputs, on their way.
template <typename T, int kSteps, int kOutputs>
struct OutputWeights {
  static constexpr int kVector = 16 / sizeof(T);
  Vector<T> weights[kOutputs][kSteps];

  __device__ void load(const HeadCudaArgs<T>& args, std::int64_t output, int lane) {
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const int input = (i * 32 + lane) * kVector;
        weights[o][i] = Vector<T>::load_once_if(input < args.inputs && output + o < args.outputs,
                                                args.weight + (output + o) * args.inputs + input);
      }
    }
  }
};

/// One token. Grid: any number of blocks.
/// inputs ≤ kSteps · 32 · 16 bytes' worth, and whole vectors.
template <typename T, int kSteps>
__global__ void __launch_bounds__(kThreads, kOneRowBlocks)
    head_one_row_kernel(HeadCudaArgs<T> args) {
  constexpr int kOutputs = kSteps <= 3 ? 2 : 1;
  constexpr int kVector = 16 / sizeof(T);
  extern __shared__ __align__(16) float token[];  // [inputs]
  let_next_kernel_start();
  const int inputs = static_cast<int>(args.inputs);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t stride = std::int64_t{gridDim.x} * kWarps * kOutputs;
  const std::int64_t first = (std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32) * kOutputs;
  OutputWeights<T, kSteps, kOutputs> arriving;
  arriving.load(args, first, lane);

  wait_for_previous_kernel();
  stage_rows<1>(
      args.x, args.norm, 1, inputs,
      [&](int) { return args.positions != nullptr ? args.positions[0] : std::int64_t{0}; }, token);
  for (std::int64_t output = first; output < args.outputs; output += stride) {
    float sum[kOutputs] = {};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int input = (i * 32 + lane) * kVector;
      if (input < inputs) {
        const auto x = Vector<float, kVector>::load(token + input);
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          const auto weights = widened(arriving.weights[o][i]);
#pragma unroll
          for (int c = 0; c < kVector; ++c) {
            sum[o] += x.elements[c] * weights.elements[c];
          }
        }
      }
    }
    arriving.load(args, output + stride, lane);
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      const float total = sum_of_lanes(sum[o]);
      if (lane == o && output + o < args.outputs) {
        args.out[output + o] = from_float<T>(total);
      }
    }
  }
}

template <typename T, int kSteps>
cudaError_t launch_one_row(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  return launch(head_one_row_kernel<T, kSteps>,
                dim3(static_cast<unsigned>(multiprocessors * kOneRowBlocks)), kThreads,
                static_cast<std::size_t>(args.inputs) * sizeof(float), stream, args);
}

/// Grid: any number of blocks, groups of kRows tokens. kVector divides inputs.
template <typename T, int kRows, int kVector>
__global__ void __launch_bounds__(kThreads) head_few_rows_kernel(HeadCudaArgs<T> args) {
  using Weights = Vector<T, kVector>;
  extern __shared__ float tokens[];  // [kRows, inputs]
  let_next_kernel_start();
  const int inputs = static_cast<int>(args.inputs);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kRows;
  const int rows = static_cast<int>(min(args.tokens - first_row, std::int64_t{kRows}));
  const std::int64_t stride = std::int64_t{gridDim.x} * kWarps * kOutputsAtOnce;
  const std::int64_t first =
      (std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32) * kOutputsAtOnce;

  wait_for_previous_kernel();
  stage_rows<kRows>(
      args.x, args.norm, rows, inputs,
      [&](int row) {
        return args.positions != nullptr ? args.positions[first_row + row] : first_row + row;
      },
      tokens);
  for (std::int64_t output = first; output < args.outputs; output += stride) {
    const int outputs = static_cast<int>(min(args.outputs - output, std::int64_t{kOutputsAtOnce}));
    float sum[kOutputsAtOnce][kRows] = {};
#pragma unroll 3
    for (int i = lane * kVector; i < inputs; i += 32 * kVector) {
      Weights weights[kOutputsAtOnce];
#pragma unroll
      for (int o = 0; o < kOutputsAtOnce; ++o) {
        const std::int64_t row = output + min(o, outputs - 1);
        weights[o] = Weights::load_once(args.weight + row * inputs + i);
      }
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
        const auto x = Vector<float, kVector>::load(tokens + row * inputs + i);
#pragma unroll
        for (int o = 0; o < kOutputsAtOnce; ++o) {
          const auto of_output = widened(weights[o]);
#pragma unroll
          for (int c = 0; c < kVector; ++c) {
            sum[o][row] += x.elements[c] * of_output.elements[c];
          }
        }
      }
    }
#pragma unroll
    for (int o = 0; o < kOutputsAtOnce; ++o) {
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
        const float value = sum_of_lanes(sum[o][row]);
        if (lane == o * kRows + row && o < outputs && row < rows) {
          args.out[(first_row + row) * args.outputs + output + o] = from_float<T>(value);
        }
      }
    }
  }
}

template <typename T, int kRows, int kVector>
cudaError_t launch_vectors(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  static_assert(kOutputsAtOnce * kRows <= 32, "a lane per result");
  const auto kernel = head_few_rows_kernel<T, kRows, kVector>;
  const std::size_t shared = static_cast<std::size_t>(kRows * args.inputs) * sizeof(float);
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  constexpr int kBlocksPerMultiprocessor = 4;
  const std::int64_t needed =
      (args.outputs + kWarps * kOutputsAtOnce - 1) / (kWarps * kOutputsAtOnce);
  const std::int64_t blocks = needed < multiprocessors * kBlocksPerMultiprocessor
                                  ? needed
                                  : multiprocessors * kBlocksPerMultiprocessor;
  const dim3 grid(static_cast<unsigned>(blocks),
                  static_cast<unsigned>(divide_up(args.tokens, kRows)));
  return launch(kernel, grid, kThreads, shared, stream, args);
}

template <typename T, int kRows>
cudaError_t launch_rows(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  constexpr int kVector = 16 / sizeof(T);
  return args.inputs % kVector == 0
             ? launch_vectors<T, kRows, kVector>(args, multiprocessors, stream)
             : launch_vectors<T, kRows, 1>(args, multiprocessors, stream);
}

}  // namespace

template <typename T>
cudaError_t head_few_rows(const HeadCudaArgs<T>& args, int multiprocessors, cudaStream_t stream) {
  constexpr int kStep = 32 * 16 / sizeof(T);
  if (args.tokens == 1 && args.inputs % (16 / sizeof(T)) == 0 && args.inputs <= 6 * kStep) {
    return args.inputs <= 3 * kStep ? launch_one_row<T, 3>(args, multiprocessors, stream)
                                    : launch_one_row<T, 6>(args, multiprocessors, stream);
  }
  if (args.tokens == 1) {
    return launch_rows<T, 1>(args, multiprocessors, stream);
  }
  if (args.tokens <= 4) {
    return launch_rows<T, 4>(args, multiprocessors, stream);
  }
  return launch_rows<T, kMaxRowsAtOnce>(args, multiprocessors, stream);
}

template cudaError_t head_few_rows(const HeadCudaArgs<float>&, int, cudaStream_t);
template cudaError_t head_few_rows(const HeadCudaArgs<__half>&, int, cudaStream_t);
template cudaError_t head_few_rows(const HeadCudaArgs<__nv_bfloat16>&, int, cudaStream_t);

}  // namespace kvcache::kernels
