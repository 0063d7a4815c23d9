// One kernel for norm(x) · weight + bias, its activation and the residual, for few tokens.
//
// Decoding reads every weight once, so each thread block takes a strip of columns as wide as a
// memory sector (32 bytes), over all inputs, and has a ring of loads on its way at all times; the
// first of them before the kernel that computes x has ended. Two neighbouring threads read one
// input's sector; the threads' sums meet in shared memory.
#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/norm_rows.cuh"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kPanel = static_cast<int>(kPanelColumns);
constexpr int kSectorBytes = 32;
constexpr int kMaxRowsAtOnce = 8;

template <int kThreads>
constexpr int kLoadsAhead = kThreads == 256 ? 8 : 12;

/// Sums over lanes that have the same half (even or odd lanes): lane 2·(2·i + j)… ends up with some
/// of the columns' sums. Halves the values with each step, so that eight columns take eight
/// exchanges. Returns the first column whose sum this lane holds, and how many follow it in `sum`.
template <int kVector>
__device__ int scatter_sums(float (&sum)[kVector], int lane) {
  int first = 0;
  int offset = 16;
#pragma unroll
  for (int held = kVector; held > 1; held /= 2, offset /= 2) {
    const bool upper = (lane & offset) != 0;
#pragma unroll
    for (int c = 0; c < held / 2; ++c) {
      const float give = upper ? sum[c] : sum[c + held / 2];
      const float keep = upper ? sum[c + held / 2] : sum[c];
      sum[c] = keep + __shfl_xor_sync(kAllLanes, give, offset);
    }
    first += upper ? held / 2 : 0;
  }
  for (; offset > 1; offset /= 2) {
    sum[0] += __shfl_xor_sync(kAllLanes, sum[0], offset);
  }
  return first;
}

/// The token's inputs to shared memory, and where there is a norm, the sums of its differences to
/// an origin and of their squares. That is its first input, for moments without cancellation where
/// all are far from zero; of an rms_norm it is zero.
/// 16 bytes a thread: many blocks read the same few lines, and each request counts.
template <typename T, int kThreads, bool kNorm>
__device__ void stage_one_row(const T* from, int inputs, bool is_rms, float* to, float2* moments) {
  constexpr int kVector = 16 / sizeof(T);
  const float origin = kNorm && !is_rms ? to_float(from[0]) : 0.0F;
  float2 moment{0.0F, 0.0F};
  const auto take = [&](int input, float x) {
    to[input] = x;
    moment.x += x - origin;
    moment.y += (x - origin) * (x - origin);
  };
  if (inputs % kVector == 0) {
    for (int i = static_cast<int>(threadIdx.x) * kVector; i < inputs; i += kThreads * kVector) {
      const auto x = widened(Vector<T>::load(from + i));
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        take(i + c, x.elements[c]);
      }
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < inputs; i += kThreads) {
      take(i, to_float(from[i]));
    }
  }
  if constexpr (kNorm) {
    moment = {sum_of_lanes(moment.x), sum_of_lanes(moment.y)};
    if (threadIdx.x % 32 == 0) {
      moments[threadIdx.x / 32] = moment;
    }
  }
  __syncthreads();
}

/// One token: every thread has all its inputs' weights on their way before the token is known.
/// Grid: strips of columns. inputs ≤ kThreads / 2 · kSteps.
template <typename T, int kThreads, int kSteps, bool kNorm>
__global__ void __launch_bounds__(kThreads) linear_one_row_kernel(LinearCudaArgs<T> args) {
  using Weights = Vector<T>;
  constexpr int kVector = 16 / sizeof(T);
  constexpr int kColumns = kSectorBytes / sizeof(T);
  constexpr int kStep = kThreads / 2;
  constexpr int kWarps = kThreads / 32;
  extern __shared__ float token[];  // [inputs]
  __shared__ float2 moments[kWarps];
  __shared__ float sums[kWarps][kColumns];

  let_next_kernel_start();
  const int inputs = static_cast<int>(args.inputs);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int half = lane % 2;
  const int first_input = static_cast<int>(threadIdx.x) / 2;
  const std::int64_t first_column = std::int64_t{blockIdx.x} * kColumns;
  const T* weight = args.weight + first_column / kPanel * kPanel * args.inputs +
                    first_column % kPanel + half * kVector;
  Weights weights[kSteps];
  T norm_weight[kNorm ? kSteps : 1];
  T norm_bias[kNorm ? kSteps : 1];
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int input = first_input + i * kStep;
    const bool exists = input < inputs;
    weights[i] = Weights::load_once_if(exists, weight + std::int64_t{input} * kPanel);
    if constexpr (kNorm) {
      norm_weight[i] = exists ? args.norm.weight[input] : from_float<T>(0.0F);
      norm_bias[i] =
          exists && args.norm.bias != nullptr ? args.norm.bias[input] : from_float<T>(0.0F);
    }
  }
  const std::int64_t out_at = first_column + threadIdx.x;
  const bool has_out = threadIdx.x < kColumns && out_at < args.outputs;
  const float bias = has_out && args.bias != nullptr ? to_float(args.bias[out_at]) : 0.0F;

  wait_for_previous_kernel();
  const float residual =
      has_out && args.residual != nullptr ? to_float(args.residual[out_at]) : 0.0F;
  stage_one_row<T, kThreads, kNorm>(args.x, inputs, args.norm.is_rms, token, moments);
  float shift = 0;
  float scale = 1;
  if constexpr (kNorm) {
    float2 total{0.0F, 0.0F};
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
      total.x += moments[i].x;
      total.y += moments[i].y;
    }
    // The mean as a difference to the first input.
    const float mean = args.norm.is_rms ? 0.0F : total.x / static_cast<float>(inputs);
    const float variance = total.y / static_cast<float>(inputs) - mean * mean;
    scale = rsqrtf(variance + args.norm.epsilon);
    shift = args.norm.is_rms ? 0.0F : token[0] + mean;
  }

  float sum[kVector] = {};
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int input = first_input + i * kStep;
    float x = input < inputs ? token[input] : 0.0F;
    if constexpr (kNorm) {
      x = (x - shift) * scale * to_float(norm_weight[i]) + to_float(norm_bias[i]);
    }
    const auto of_input = widened(weights[i]);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      sum[c] += x * of_input.elements[c];
    }
  }
  const int column = scatter_sums(sum, lane);
  if ((lane & (32 / kVector - 2)) == 0) {
    sums[warp][half * kVector + column] = sum[0];
  }
  __syncthreads();
  if (has_out) {
    float value = bias;
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
      value += sums[i][threadIdx.x];
    }
    args.out[out_at] = from_float<T>(residual + (args.gelu ? gelu_tanh(value) : value));
  }
}

template <typename T, int kThreads, int kSteps>
cudaError_t launch_one_row(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  constexpr int kColumns = kSectorBytes / sizeof(T);
  const dim3 grid(static_cast<unsigned>(divide_up(args.outputs, kColumns)));
  const std::size_t shared = static_cast<std::size_t>(args.inputs) * sizeof(float);
  return args.norm.weight != nullptr ? launch(linear_one_row_kernel<T, kThreads, kSteps, true>,
                                              grid, kThreads, shared, stream, args)
                                     : launch(linear_one_row_kernel<T, kThreads, kSteps, false>,
                                              grid, kThreads, shared, stream, args);
}

constexpr std::int64_t kMaxInputsOfOneRow = 4096;

template <typename T>
cudaError_t linear_one_row(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  return args.inputs <= 768    ? launch_one_row<T, 256, 6>(args, stream)
         : args.inputs <= 1024 ? launch_one_row<T, 256, 8>(args, stream)
         : args.inputs <= 2048 ? launch_one_row<T, 512, 8>(args, stream)
         : args.inputs <= 3072 ? launch_one_row<T, 512, 12>(args, stream)
                               : launch_one_row<T, 512, 16>(args, stream);
}

/// Grid: strips of columns, groups of kRows tokens.
template <typename T, int kRows, int kThreads>
__global__ void __launch_bounds__(kThreads) linear_few_rows_kernel(LinearCudaArgs<T> args) {
  using Weights = Vector<T>;
  constexpr int kVector = 16 / sizeof(T);
  constexpr int kColumns = kSectorBytes / sizeof(T);
  constexpr int kStep = kThreads / 2;  // inputs that the block takes at once
  constexpr int kAhead = kLoadsAhead<kThreads>;
  constexpr int kWarps = kThreads / 32;
  extern __shared__ float shared[];  // [kRows, inputs], later the warps' sums
  __shared__ float sums[kWarps][kRows][kColumns];

  let_next_kernel_start();
  const int inputs = static_cast<int>(args.inputs);
  const std::int64_t first_column = std::int64_t{blockIdx.x} * kColumns;
  const int half = static_cast<int>(threadIdx.x) % 2;
  const int first_input = static_cast<int>(threadIdx.x) / 2;
  const T* weight = args.weight + first_column / kPanel * kPanel * args.inputs +
                    first_column % kPanel + half * kVector;
  Weights ring[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    const int input = first_input + i * kStep;
    ring[i] = Weights::load_once_if(input < inputs, weight + std::int64_t{input} * kPanel);
  }

  // What the last threads do: a column of a token each.
  const int out_row = static_cast<int>(threadIdx.x) / kColumns;
  const std::int64_t out_column = first_column + static_cast<int>(threadIdx.x) % kColumns;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kRows;
  const bool has_out =
      out_row < kRows && first_row + out_row < args.tokens && out_column < args.outputs;
  const float bias = has_out && args.bias != nullptr ? to_float(args.bias[out_column]) : 0.0F;

  wait_for_previous_kernel();
  const std::int64_t out_at = (first_row + out_row) * args.outputs + out_column;
  const float residual =
      has_out && args.residual != nullptr ? to_float(args.residual[out_at]) : 0.0F;
  stage_rows<kRows>(
      args.x, args.norm, static_cast<int>(min(args.tokens - first_row, std::int64_t{kRows})),
      inputs, [&](int row) { return first_row + row; }, shared);

  float sum[kRows][kVector] = {};
  for (int base = first_input; base < inputs; base += kAhead * kStep) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int input = base + i * kStep;
      const Weights now = ring[i];
      const int next = input + kAhead * kStep;
      ring[i] = Weights::load_once_if(next < inputs, weight + std::int64_t{next} * kPanel);
      if (input < inputs) {
        const auto of_input = widened(now);
#pragma unroll
        for (int row = 0; row < kRows; ++row) {
          const float x = shared[row * inputs + input];
#pragma unroll
          for (int c = 0; c < kVector; ++c) {
            sum[row][c] += x * of_input.elements[c];
          }
        }
      }
    }
  }

  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      float value = sum[row][c];
#pragma unroll
      for (int offset = 16; offset > 1; offset /= 2) {  // lanes with the same half
        value += __shfl_xor_sync(kAllLanes, value, offset);
      }
      if (lane < 2) {
        sums[threadIdx.x / 32][row][half * kVector + c] = value;
      }
    }
  }
  __syncthreads();
  if (has_out) {
    float value = bias;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      value += sums[warp][out_row][threadIdx.x % kColumns];
    }
    args.out[out_at] = from_float<T>(residual + (args.gelu ? gelu_tanh(value) : value));
  }
}

template <typename T, int kRows, int kThreads>
cudaError_t launch_rows(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  constexpr int kColumns = kSectorBytes / sizeof(T);
  const auto kernel = linear_few_rows_kernel<T, kRows, kThreads>;
  const std::size_t shared = static_cast<std::size_t>(kRows * args.inputs) * sizeof(float);
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const dim3 grid(static_cast<unsigned>(divide_up(args.outputs, kColumns)),
                  static_cast<unsigned>(divide_up(args.tokens, kRows)));
  return launch(kernel, grid, kThreads, shared, stream, args);
}

template <typename T, int kRows>
cudaError_t launch_threads(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  return args.inputs <= 128 * kLoadsAhead<256> ? launch_rows<T, kRows, 256>(args, stream)
                                               : launch_rows<T, kRows, 512>(args, stream);
}

/// Grid: tokens; a warp's worth of columns per thread is not worth more.
template <typename T>
__global__ void finish_linear_kernel(LinearCudaArgs<T> args) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const std::int64_t row = std::int64_t{blockIdx.x} * args.outputs;
  const std::int64_t column = std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (column < args.outputs) {
    const float bias = args.bias != nullptr ? to_float(args.bias[column]) : 0.0F;
    const float value = to_float(args.out[row + column]) + bias;
    const float residual = args.residual != nullptr ? to_float(args.residual[row + column]) : 0.0F;
    args.out[row + column] = from_float<T>(residual + (args.gelu ? gelu_tanh(value) : value));
  }
}

}  // namespace

bool few_rows_fit(std::int64_t tokens, std::int64_t inputs) {
  const std::int64_t rows = tokens < kMaxRowsAtOnce ? tokens : kMaxRowsAtOnce;
  return static_cast<std::size_t>(rows * inputs) * sizeof(float) <= most_shared_bytes();
}

template <typename T>
cudaError_t linear_few_rows(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  if (args.tokens == 1 && args.inputs <= kMaxInputsOfOneRow) {
    return linear_one_row(args, stream);
  }
  if (args.tokens == 1) {
    return launch_threads<T, 1>(args, stream);
  }
  if (args.tokens <= 2) {
    return launch_threads<T, 2>(args, stream);
  }
  if (args.tokens <= 4) {
    return launch_threads<T, 4>(args, stream);
  }
  return launch_threads<T, kMaxRowsAtOnce>(args, stream);
}

template <typename T>
cudaError_t linear_epilogue(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(args.tokens),  // there may be more than fit along y
                  static_cast<unsigned>(divide_up(args.outputs, 256)));
  return launch(finish_linear_kernel<T>, grid, 256, 0, stream, args);
}

template cudaError_t linear_few_rows(const LinearCudaArgs<float>&, cudaStream_t);
template cudaError_t linear_few_rows(const LinearCudaArgs<__half>&, cudaStream_t);
template cudaError_t linear_few_rows(const LinearCudaArgs<__nv_bfloat16>&, cudaStream_t);
template cudaError_t linear_epilogue(const LinearCudaArgs<float>&, cudaStream_t);
template cudaError_t linear_epilogue(const LinearCudaArgs<__half>&, cudaStream_t);
template cudaError_t linear_epilogue(const LinearCudaArgs<__nv_bfloat16>&, cudaStream_t);

}  // namespace kvcache::kernels
