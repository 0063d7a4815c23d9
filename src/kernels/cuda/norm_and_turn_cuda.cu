// A warp per vector.
#include "base/rounding.hpp"
#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/norm_and_turn.cuh"
#include "kernels/cuda/norm_and_turn_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kMaxHeadDim = 256;

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
    if (args.rules.query_weight != nullptr) {
      norm_vector(number < args.num_heads ? args.rules.query_weight : args.rules.key_weight,
                  head_dim, args.rules.epsilon, vector);
    }
    if (args.rules.rotary.cos != nullptr) {
      const Rotary& rotary = args.rules.rotary;
      const std::int64_t position = args.position_ids[blockIdx.x];
      const std::int64_t pairs = rotary.dims / 2;
      const bool known = position >= 0 && position < rotary.positions;
      turn_vector(known ? rotary.cos + position * pairs : nullptr,
                  known ? rotary.sin + position * pairs : nullptr, static_cast<int>(pairs),
                  rotary.interleaved, vector);
    }
  }
  for (int i = lane; i < head_dim; i += 32) {
    args.out[at + i] = from_float<T>(vector[i]);
  }
}

}  // namespace

template <typename T>
cudaError_t norm_and_turn_cuda(const NormAndTurnArgs<T>& args, LaunchOrder order) {
  if (args.head_dim > kMaxHeadDim || args.rules.rotary.dims > args.head_dim) {
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
