#include "kernels/cuda/exp_sum_cuda.hpp"
#include "kernels/cuda/shared_row.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kWarps = kRowThreads / 32;

/// In the first lane.
__device__ double sum_of_lanes_in_double(double value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_down_sync(kAllLanes, value, offset);
  }
  return value;
}

/// Grid: 1, 1, blocks that share the row.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    exp_sum_kernel(const T* logits, std::int64_t vocab_size, double largest, double temperature,
                   double* sum) {
  __shared__ double of_warps[kWarps];
  __shared__ double of_blocks[kMaxCluster];  // the first block's are written by all
  arrive_at_cluster_early();                 // all its blocks run before any writes to another
  wait_for_previous_kernel();
  double own = 0;
  for_share_of_row(logits, vocab_size, [&](const TopLogit& token) {
    own += exp((static_cast<double>(token.logit) - largest) / temperature);
  });
  own = sum_of_lanes_in_double(own);
  if (threadIdx.x % 32 == 0) {
    of_warps[threadIdx.x / 32] = own;
  }
  __syncthreads();
  wait_for_cluster();
  if (threadIdx.x < 32) {
    own = sum_of_lanes_in_double(threadIdx.x < kWarps ? of_warps[threadIdx.x] : 0.0);
    if (threadIdx.x == 0) {
      in_first_block(of_blocks)[blockIdx.z] = own;
    }
  }
  __syncwarp();
  arrive_at_cluster();
  wait_for_cluster();
  if (threadIdx.x == 0 && blockIdx.z == 0) {
    double all = 0;
    for (unsigned block = 0; block < gridDim.z; ++block) {
      all += of_blocks[block];
    }
    *sum = all;
  }
}

}  // namespace

template <typename T>
cudaError_t exp_sum_cuda(const T* logits, std::int64_t vocab_size, float largest,
                         double temperature, double* sum, cudaStream_t stream) {
  const dim3 grid(1, 1, device_has_clusters() ? kMaxCluster : 1);
  return launch(exp_sum_kernel<T>, grid, kRowThreads, 0, stream, logits, vocab_size,
                static_cast<double>(largest), temperature, sum);
}

template cudaError_t exp_sum_cuda(const float*, std::int64_t, float, double, double*, cudaStream_t);
template cudaError_t exp_sum_cuda(const __half*, std::int64_t, float, double, double*,
                                  cudaStream_t);
template cudaError_t exp_sum_cuda(const __nv_bfloat16*, std::int64_t, float, double, double*,
                                  cudaStream_t);

}  // namespace kvcache::kernels
