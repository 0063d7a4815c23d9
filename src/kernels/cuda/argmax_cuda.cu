#include <cfloat>
#include <climits>

#include "kernels/cuda/logit_order.cuh"
#include "kernels/cuda/shared_row.cuh"
#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kWarps = kRowThreads / 32;

constexpr TopLogit __device__ kNone{INT_MAX, -INFINITY};

/// The best of the block's share of a row, in its first thread.
template <typename T>
__device__ TopLogit best_of_share(const T* logits, std::int64_t vocab_size) {
  __shared__ TopLogit bests[kWarps];
  TopLogit best = kNone;
  for_share_of_row(logits, vocab_size, [&](const TopLogit& candidate) {
    best = comes_before(candidate, best) ? candidate : best;
  });
  best = best_of_lanes(best);
  if (threadIdx.x % 32 == 0) {
    bests[threadIdx.x / 32] = best;
  }
  __syncthreads();
  return best_of_lanes(threadIdx.x % 32 < kWarps ? bests[threadIdx.x % 32] : kNone);
}

/// Grid: rows, 1, blocks that share a row.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    argmax_kernel(const T* logits, std::int64_t vocab_size, TopLogit* best) {
  __shared__ TopLogit bests[kMaxCluster];  // the first block's are written by all
  arrive_at_cluster_early();               // all its blocks run before any writes to another
  wait_for_previous_kernel();
  const TopLogit own = best_of_share(logits + std::int64_t{blockIdx.x} * vocab_size, vocab_size);
  wait_for_cluster();
  if (threadIdx.x == 0) {
    in_first_block(bests)[blockIdx.z] = own;
  }
  arrive_at_cluster();
  wait_for_cluster();
  if (threadIdx.x == 0 && blockIdx.z == 0) {
    TopLogit found = bests[0];
    for (unsigned block = 1; block < gridDim.z; ++block) {
      found = comes_before(bests[block], found) ? bests[block] : found;
    }
    send_to_host(best + blockIdx.x, static_cast<unsigned>(found.token),
                 __float_as_uint(found.logit));
  }
}

}  // namespace

template <typename T>
cudaError_t argmax_cuda(const T* logits, std::int64_t rows, std::int64_t vocab_size, TopLogit* best,
                        cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(rows), 1, blocks_sharing_a_row(rows));
  return launch(argmax_kernel<T>, grid, kRowThreads, 0, stream, logits, vocab_size, best);
}

template cudaError_t argmax_cuda(const float*, std::int64_t, std::int64_t, TopLogit*, cudaStream_t);
template cudaError_t argmax_cuda(const __half*, std::int64_t, std::int64_t, TopLogit*,
                                 cudaStream_t);
template cudaError_t argmax_cuda(const __nv_bfloat16*, std::int64_t, std::int64_t, TopLogit*,
                                 cudaStream_t);

}  // namespace kvcache::kernels
