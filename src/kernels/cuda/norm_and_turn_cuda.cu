// A warp per vector: it is in shared memory, because the other half of a pair is another lane's.
#include "base/rounding.hpp"
#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/norm_and_turn_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kMaxHeadDim = 256;

/// The warp's vector, normed.
template <typename T>
__device__ void norm_vector(const T* weight, int head_dim, float epsilon, float* vector) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float squares = 0;
  for (int i = lane; i < head_dim; i += 32) {
    squares += vector[i] * vector[i];
  }
  const float scale = rsqrtf(sum_of_lanes(squares) / static_cast<float>(head_dim) + epsilon);
  for (int i = lane; i < head_dim; i += 32) {
    vector[i] *= scale * to_float(weight[i]);
  }
  __syncwarp();
}

/// The warp's vector, turned by the angles of a position.
__device__ void turn_vector(const Rotary& rotary, std::int64_t position, float* vector) {
  const int pairs = static_cast<int>(rotary.dims) / 2;
  const bool known = position >= 0 && position < rotary.positions;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < pairs; i += 32) {
    const int one = rotary.interleaved ? 2 * i : i;
    const int other = rotary.interleaved ? one + 1 : one + pairs;
    const float cos = known ? rotary.cos[position * pairs + i] : nanf("");
    const float sin = known ? rotary.sin[position * pairs + i] : nanf("");
    const float a = vector[one];
    const float b = vector[other];
    vector[one] = a * cos - b * sin;
    vector[other] = b * cos + a * sin;
  }
  __syncwarp();
}

/// Grid: tokens, groups of kWarps vectors.
template <typename T>
__global__ void __launch_bounds__(kThreads) norm_and_turn_kernel(NormAndTurnArgs<T> args) {
  __shared__ float vectors[kWarps][kMaxHeadDim];
  let_next_kernel_start();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto head_dim = static_cast<int>(args.head_dim);
  const std::int64_t of_token = args.num_heads + 2 * args.num_kv_heads;
  const std::int64_t number = std::int64_t{blockIdx.y} * kWarps + warp;
  wait_for_previous_kernel();
  if (number >= of_token) {
    return;
  }
  const std::int64_t at = (std::int64_t{blockIdx.x} * of_token + number) * head_dim;
  float* vector = vectors[warp];
  for (int i = lane; i < head_dim; i += 32) {
    vector[i] = to_float(args.qkv[at + i]);
  }
  __syncwarp();
  if (number < args.num_heads + args.num_kv_heads) {  // no value
    if (args.query_weight != nullptr) {
      norm_vector(number < args.num_heads ? args.query_weight : args.key_weight, head_dim,
                  args.epsilon, vector);
    }
    if (args.rotary.cos != nullptr) {
      turn_vector(args.rotary, args.position_ids[blockIdx.x], vector);
    }
  }
  for (int i = lane; i < head_dim; i += 32) {
    args.out[at + i] = from_float<T>(vector[i]);
  }
}

}  // namespace

template <typename T>
cudaError_t norm_and_turn_cuda(const NormAndTurnArgs<T>& args, LaunchOrder order) {
  if (args.head_dim > kMaxHeadDim || args.rotary.dims > args.head_dim) {
    return cudaErrorInvalidValue;
  }
  if (args.tokens == 0) {
    return cudaSuccess;
  }
  const std::int64_t groups = divide_up(args.num_heads + 2 * args.num_kv_heads, kWarps);
  return launch(norm_and_turn_kernel<T>,
                dim3(static_cast<unsigned>(args.tokens), static_cast<unsigned>(groups)), kThreads,
                0, order, args);
}

template cudaError_t norm_and_turn_cuda(const NormAndTurnArgs<float>&, LaunchOrder);
template cudaError_t norm_and_turn_cuda(const NormAndTurnArgs<__half>&, LaunchOrder);
template cudaError_t norm_and_turn_cuda(const NormAndTurnArgs<__nv_bfloat16>&, LaunchOrder);

}  // namespace kvcache::kernels
