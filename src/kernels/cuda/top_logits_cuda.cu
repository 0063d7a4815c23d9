// A row is shared among the blocks of a cluster: one block alone is bound by the loads it can have
// under way.
#include <cfloat>
#include <climits>

#include "kernels/cuda/logit_order.cuh"
#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;

constexpr TopLogit __device__ kNone{INT_MAX, -INFINITY};

/// The best of the block's share of a row that comes after `last`, in all its threads.
template <typename T>
__device__ TopLogit best_after(const T* logits, std::int64_t vocab_size, const TopLogit& last) {
  __shared__ TopLogit bests[kWarps];
  TopLogit best = kNone;
  const auto consider = [&](std::int64_t token, T value) {
    const TopLogit candidate{static_cast<int>(token), to_float(value)};
    if (comes_before(candidate, best) && comes_before(last, candidate)) {
      best = candidate;
    }
  };
  constexpr int kVector = 16 / sizeof(T);
  // Rows of an odd vocabulary do not begin on 16 bytes.
  const auto misplaced =
      static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(logits) % 16 / sizeof(T));
  const std::int64_t head = min(misplaced == 0 ? 0 : kVector - misplaced, vocab_size);
  const std::int64_t vectors = (vocab_size - head) / kVector;
#pragma unroll 8
  for (std::int64_t v = std::int64_t{blockIdx.z} * kThreads + threadIdx.x; v < vectors;
       v += std::int64_t{gridDim.z} * kThreads) {
    const auto values = Vector<T>::load(logits + head + v * kVector);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      consider(head + v * kVector + i, values.elements[i]);
    }
  }
  const std::int64_t tail = head + vectors * kVector;
  if (blockIdx.z == 0) {
    if (threadIdx.x < head) {
      consider(threadIdx.x, logits[threadIdx.x]);
    }
    if (tail + threadIdx.x < vocab_size) {
      consider(tail + threadIdx.x, logits[tail + threadIdx.x]);
    }
  }
  best = best_of_lanes(best);
  if (threadIdx.x % 32 == 0) {
    bests[threadIdx.x / 32] = best;
  }
  __syncthreads();
  best = best_of_lanes(threadIdx.x % 32 < kWarps ? bests[threadIdx.x % 32] : kNone);
  __syncthreads();  // before `bests` is used again
  return best;
}

/// Grid: rows, 1, blocks that share a row.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    top_logits_kernel(const T* logits, std::int64_t vocab_size, std::int64_t k, TopLogit* best) {
  // Of every block of the cluster, for two passes in turn: a block that is ahead does not write
  // where another still reads.
  __shared__ TopLogit bests[2][kMaxCluster];
  arrive_at_cluster();  // all its blocks run before any writes to another
  wait_for_previous_kernel();
  TopLogit last{-1, nanf("")};  // comes before every token
  for (std::int64_t pass = 0; pass < k; ++pass) {
    const TopLogit own =
        best_after(logits + std::int64_t{blockIdx.x} * vocab_size, vocab_size, last);
    if (pass == 0) {
      wait_for_cluster();
    }
    TopLogit* all = bests[pass % 2];
    if (threadIdx.x < gridDim.z) {
      in_block(all, threadIdx.x)[blockIdx.z] = own;
    }
    arrive_at_cluster();
    wait_for_cluster();
    __syncthreads();  // where there are no clusters
    last = all[0];
    for (unsigned block = 1; block < gridDim.z; ++block) {
      last = comes_before(all[block], last) ? all[block] : last;
    }
    if (threadIdx.x == 0 && blockIdx.z == 0) {
      best[std::int64_t{blockIdx.x} * k + pass] = last;
    }
  }
}

/// Blocks that share a row: more than two only while there are few rows to fill the device.
unsigned blocks_per_row(std::int64_t rows) {
  if (!device_has_clusters()) {
    return 1;
  }
  return rows <= 8 ? kMaxCluster : rows <= 16 ? kMaxCluster / 2 : 2;
}

template <typename T>
cudaError_t launch_rows(const T* logits, std::int64_t rows, std::int64_t vocab_size, std::int64_t k,
                        TopLogit* best, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(rows), 1, blocks_per_row(rows));
  return launch(top_logits_kernel<T>, grid, kThreads, 0, stream, logits, vocab_size, k, best);
}

}  // namespace

template <typename T>
cudaError_t argmax_cuda(const T* logits, std::int64_t rows, std::int64_t vocab_size, TopLogit* best,
                        cudaStream_t stream) {
  return launch_rows(logits, rows, vocab_size, 1, best, stream);
}

template <typename T>
cudaError_t top_k_cuda(const T* logits, std::int64_t vocab_size, std::int64_t k, TopLogit* best,
                       cudaStream_t stream) {
  return launch_rows(logits, 1, vocab_size, k, best, stream);
}

template cudaError_t argmax_cuda(const float*, std::int64_t, std::int64_t, TopLogit*, cudaStream_t);
template cudaError_t argmax_cuda(const __half*, std::int64_t, std::int64_t, TopLogit*,
                                 cudaStream_t);
template cudaError_t argmax_cuda(const __nv_bfloat16*, std::int64_t, std::int64_t, TopLogit*,
                                 cudaStream_t);
template cudaError_t top_k_cuda(const float*, std::int64_t, std::int64_t, TopLogit*, cudaStream_t);
template cudaError_t top_k_cuda(const __half*, std::int64_t, std::int64_t, TopLogit*, cudaStream_t);
template cudaError_t top_k_cuda(const __nv_bfloat16*, std::int64_t, std::int64_t, TopLogit*,
                                cudaStream_t);

}  // namespace kvcache::kernels
