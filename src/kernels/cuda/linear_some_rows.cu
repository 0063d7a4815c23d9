// One kernel for norm(x) · weight + bias, its activation and the residual, for up to 16 tokens, on
// tensor cores.
//
// A cluster of blocks has a panel of 64 columns, each block a part of the inputs. The part of the
// weight is on its way to shared memory before the tokens are known. Every block then has its part
// of all tokens; for the norm, the blocks tell each other the parts' moments. The products' sums go
// to the block that finishes their columns.
#include "base/rounding.hpp"
#include "kernels/cuda/activations.cuh"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/norm_rows.cuh"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kColumns = 64;  // of a panel
constexpr int kColumnsOfWarp = 16;
constexpr int kWarpsOfInputs = kWarps / (kColumns / kColumnsOfWarp);  // that share a column
constexpr int kPad = 8;  // elements behind a row in shared memory: no bank conflicts
constexpr int kVector = 8;
constexpr int kMaxTokens = 16;
constexpr std::size_t kMaxSharedBytes = std::size_t{220} << 10;

/// Of a block, in this order.
template <typename T, int kTokens>
struct SharedLayout {
  int inputs;  // of the block's part
  int parts;   // blocks of the cluster

  [[nodiscard]] __host__ __device__ int weight_stride() const { return kColumns + kPad; }
  [[nodiscard]] __host__ __device__ int token_stride() const { return inputs + kPad; }
  [[nodiscard]] __host__ __device__ int tokens_at() const { return inputs * weight_stride(); }
  [[nodiscard]] __host__ __device__ std::size_t sums_at() const {  // in bytes, on 16
    return static_cast<std::size_t>(tokens_at() + kTokens * token_stride()) * sizeof(T);
  }
  /// [parts · kWarpsOfInputs, kColumns / parts, kTokens]
  [[nodiscard]] __host__ __device__ std::size_t moments_at() const {
    return sums_at() + sizeof(float) * kWarpsOfInputs * kColumns * kTokens;
  }
  /// [parts, kTokens]
  [[nodiscard]] __host__ __device__ std::size_t bytes() const {
    return moments_at() + sizeof(float2) * static_cast<std::size_t>(parts) * kTokens;
  }
};

/// The block's part of the tokens to shared memory, zeros where there is no token, and with a norm
/// the parts' moments about each token's first input (an rms_norm's about zero) to all blocks of
/// the cluster. A warp per token.
template <typename T, int kTokens>
__device__ void stage_tokens(const LinearCudaArgs<T>& args, const SharedLayout<T, kTokens>& layout,
                             int part, T* to, float2* moments) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int token = static_cast<int>(threadIdx.x) / 32; token < kTokens; token += kWarps) {
    const bool exists = token < args.tokens;
    const T* row = args.x + token * args.inputs;
    const bool centred = args.norm.weight != nullptr && !args.norm.is_rms;
    const float origin = exists && centred ? to_float(row[0]) : 0.0F;
    float2 moment{0.0F, 0.0F};
#pragma unroll 2
    for (int i = lane * kVector; i < layout.inputs; i += 32 * kVector) {
      const auto x = exists ? Vector<T>::load(row + part * layout.inputs + i) : Vector<T>::zero();
      x.store(to + token * layout.token_stride() + i);
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        const float difference = to_float(x.elements[c]) - origin;
        moment.x += difference;
        moment.y += difference * difference;
      }
    }
    if (args.norm.weight != nullptr) {
      moment = {sum_of_lanes(moment.x), sum_of_lanes(moment.y)};
      if (lane < layout.parts) {
        in_block(moments, static_cast<unsigned>(lane))[part * kTokens + token] = moment;
      }
    }
  }
}

/// Normalizes the block's part of the tokens in place, with the moments of all parts.
template <typename T, int kTokens>
__device__ void normalize_tokens(const LinearCudaArgs<T>& args,
                                 const SharedLayout<T, kTokens>& layout, int part, T* tokens,
                                 const float2* moments) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int token = static_cast<int>(threadIdx.x) / 32; token < args.tokens; token += kWarps) {
    float2 total{0.0F, 0.0F};
    for (int other = 0; other < layout.parts; ++other) {
      total.x += moments[other * kTokens + token].x;
      total.y += moments[other * kTokens + token].y;
    }
    const auto count = static_cast<float>(args.inputs);
    // The mean as a difference to the first input.
    const float mean = args.norm.is_rms ? 0.0F : total.x / count;
    const float scale = rsqrtf(total.y / count - mean * mean + args.norm.epsilon);
    const float shift = args.norm.is_rms ? 0.0F : to_float(args.x[token * args.inputs]) + mean;
    for (int i = lane * kVector; i < layout.inputs; i += 32 * kVector) {
      T* at = tokens + token * layout.token_stride() + i;
      auto x = Vector<T>::load(at);
      const auto weight = Vector<T>::load(args.norm.weight + part * layout.inputs + i);
      const auto bias = args.norm.bias != nullptr
                            ? Vector<T>::load(args.norm.bias + part * layout.inputs + i)
                            : Vector<T>::zero();
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        x.elements[c] =
            from_float<T>((to_float(x.elements[c]) - shift) * scale * to_float(weight.elements[c]) +
                          to_float(bias.elements[c]));
      }
      x.store(at);
    }
  }
}

/// Grid: panels, 1, parts of the inputs. kTokens is a multiple of 8.
template <typename T, int kTokens>
__global__ void __launch_bounds__(kThreads) linear_some_rows_kernel(LinearCudaArgs<T> args) {
  extern __shared__ __align__(16) std::byte shared[];
  const int parts = static_cast<int>(gridDim.z);
  const int part = static_cast<int>(blockIdx.z);
  const SharedLayout<T, kTokens> layout{static_cast<int>(args.inputs) / parts, parts};
  T* weights = reinterpret_cast<T*>(shared);
  T* tokens = weights + layout.tokens_at();
  auto* sums = reinterpret_cast<float*>(shared + layout.sums_at());
  auto* moments = reinterpret_cast<float2*>(shared + layout.moments_at());

  let_next_kernel_start();
  arrive_at_cluster();  // all its blocks run before any writes to another
  const T* weight =
      args.weight + (std::int64_t{blockIdx.x} * args.inputs + part * layout.inputs) * kColumns;
  constexpr int kVectorsOfRow = kColumns / kVector;
  for (int i = static_cast<int>(threadIdx.x); i < layout.inputs * kVectorsOfRow; i += kThreads) {
    copy_to_shared(
        weights + i / kVectorsOfRow * layout.weight_stride() + i % kVectorsOfRow * kVector,
        weight + i * kVector);
  }

  wait_for_previous_kernel();
  wait_for_cluster();
  stage_tokens<T, kTokens>(args, layout, part, tokens, moments);
  if (args.norm.weight != nullptr) {
    arrive_at_cluster();
    wait_for_cluster();
    normalize_tokens<T, kTokens>(args, layout, part, tokens, moments);
  }
  wait_for_copies();
  __syncthreads();

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int columns_at = warp % (kColumns / kColumnsOfWarp) * kColumnsOfWarp;
  const int input_share = warp / (kColumns / kColumnsOfWarp);
  float sum[kTokens / 8][4] = {};
  for (int i = input_share * 16; i < layout.inputs; i += kWarpsOfInputs * 16) {
    unsigned left[4];  // the weights, transposed: 16 columns by 16 inputs
    load_transposed(weights + (i + lane % 8 + lane / 16 * 8) * layout.weight_stride() + columns_at +
                        lane / 8 % 2 * 8,
                    left);
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n) {
      const T* token = tokens + (n * 8 + g) * layout.token_stride() + i + 2 * t;
      multiply_add<T>(sum[n], left, pair_at(token), pair_at(token + 8));
    }
  }

  // To the block that finishes the column; its own part may still be at work.
  const int own_columns = kColumns / parts;
  const int source = part * kWarpsOfInputs + input_share;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int column = columns_at + g + r * 8;
    float* to = in_block(sums, static_cast<unsigned>(column / own_columns)) +
                (source * own_columns + column % own_columns) * kTokens;
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n) {
      const Vector<float, 2> both{sum[n][2 * r], sum[n][2 * r + 1]};
      both.store(to + n * 8 + 2 * t);
    }
  }
  arrive_at_cluster();
  wait_for_cluster();
  for (int i = static_cast<int>(threadIdx.x); i < own_columns * kTokens; i += kThreads) {
    const int token = i / own_columns;
    const int own = i % own_columns;
    const std::int64_t column = std::int64_t{blockIdx.x} * kColumns + part * own_columns + own;
    if (token < args.tokens && column < args.outputs) {
      float value = args.bias != nullptr ? to_float(args.bias[column]) : 0.0F;
      for (int other = 0; other < parts * kWarpsOfInputs; ++other) {
        value += sums[(other * own_columns + own) * kTokens + token];
      }
      value = args.gelu ? gelu_tanh(value) : value;
      const std::int64_t at = token * args.outputs + column;
      args.out[at] =
          from_float<T>(args.residual != nullptr ? to_float(args.residual[at]) + value : value);
    }
  }
}

/// Blocks of a cluster: as many as the inputs divide into, until the device is full and a
/// multiprocessor has room for several, so that one loads while another computes.
int choose_parts(std::int64_t inputs, std::int64_t outputs) {
  constexpr std::int64_t kBlocks = 200;
  constexpr std::int64_t kInputsOfPart = 512;
  const std::int64_t panels = divide_up(outputs, kColumns);
  int parts = 1;
  while (parts < kMaxCluster && inputs % (32 * parts) == 0 &&
         (2 * parts * panels <= kBlocks || inputs / parts > kInputsOfPart)) {
    parts *= 2;
  }
  return parts;
}

template <typename T, int kTokens>
cudaError_t launch_tokens(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  const auto kernel = linear_some_rows_kernel<T, kTokens>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kMaxSharedBytes));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const int parts = choose_parts(args.inputs, args.outputs);
  const SharedLayout<T, kTokens> layout{static_cast<int>(args.inputs) / parts, parts};
  const dim3 grid(static_cast<unsigned>(divide_up(args.outputs, kColumns)), 1,
                  static_cast<unsigned>(parts));
  return launch(kernel, grid, kThreads, layout.bytes(), stream, args);
}

}  // namespace

bool some_rows_fit(std::int64_t tokens, std::int64_t inputs, std::int64_t outputs) {
  if (tokens > kMaxTokens || inputs % 16 != 0 || !device_has_clusters()) {
    return false;
  }
  const int parts = choose_parts(inputs, outputs);
  const SharedLayout<__half, kMaxTokens> layout{static_cast<int>(inputs) / parts, parts};
  return layout.bytes() <= kMaxSharedBytes;
}

template <typename T>
cudaError_t linear_some_rows(const LinearCudaArgs<T>& args, cudaStream_t stream) {
  return args.tokens <= 8 ? launch_tokens<T, 8>(args, stream)
                          : launch_tokens<T, kMaxTokens>(args, stream);
}

template cudaError_t linear_some_rows(const LinearCudaArgs<__half>&, cudaStream_t);
template cudaError_t linear_some_rows(const LinearCudaArgs<__nv_bfloat16>&, cudaStream_t);

}  // namespace kvcache::kernels
