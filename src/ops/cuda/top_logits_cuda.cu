#include <cfloat>
#include <climits>

#include "ops/cuda/device_code.cuh"
#include "ops/cuda/top_logits_cuda.hpp"

namespace kvcache::ops {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;

constexpr TopLogit __device__ kNone{INT_MAX, -INFINITY};

/// Whether a comes before b: the larger logit, then the smaller id.
__device__ bool before(const TopLogit& a, const TopLogit& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

/// The best of a warp's, in all its lanes.
__device__ TopLogit best_of_warp(TopLogit best) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const TopLogit other{__shfl_xor_sync(kAllLanes, best.token, offset),
                         __shfl_xor_sync(kAllLanes, best.logit, offset)};
    if (before(other, best)) {
      best = other;
    }
  }
  return best;
}

/// The best that comes after `last`, found by the whole block.
template <typename T>
__device__ TopLogit best_after(const T* logits, std::int64_t vocab_size, const TopLogit& last) {
  __shared__ TopLogit bests[kWarps];
  TopLogit best = kNone;
  const auto consider = [&](std::int64_t token, T value) {
    const TopLogit candidate{static_cast<int>(token), to_float(value)};
    if (before(candidate, best) && before(last, candidate)) {
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
  for (std::int64_t v = threadIdx.x; v < vectors; v += kThreads) {
    const auto values = Vector<T>::load(logits + head + v * kVector);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      consider(head + v * kVector + i, values.elements[i]);
    }
  }
  const std::int64_t tail = head + vectors * kVector;
  if (threadIdx.x < head) {
    consider(threadIdx.x, logits[threadIdx.x]);
  }
  if (tail + threadIdx.x < vocab_size) {
    consider(tail + threadIdx.x, logits[tail + threadIdx.x]);
  }
  best = best_of_warp(best);
  if (threadIdx.x % 32 == 0) {
    bests[threadIdx.x / 32] = best;
  }
  __syncthreads();
  best = best_of_warp(bests[threadIdx.x % 32]);
  __syncthreads();  // before `bests` is used again
  return best;
}

/// Grid: rows.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    top_logits_kernel(const T* logits, std::int64_t vocab_size, std::int64_t k, TopLogit* best) {
  wait_for_previous_kernel();
  TopLogit last{-1, INFINITY};
  for (std::int64_t i = 0; i < k; ++i) {
    last = best_after(logits + std::int64_t{blockIdx.x} * vocab_size, vocab_size, last);
    if (threadIdx.x == 0) {
      best[std::int64_t{blockIdx.x} * k + i] = last;
    }
  }
}

}  // namespace

template <typename T>
cudaError_t argmax_cuda(const T* logits, std::int64_t rows, std::int64_t vocab_size, TopLogit* best,
                        cudaStream_t stream) {
  return launch(top_logits_kernel<T>, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream,
                logits, vocab_size, std::int64_t{1}, best);
}

template <typename T>
cudaError_t top_k_cuda(const T* logits, std::int64_t vocab_size, std::int64_t k, TopLogit* best,
                       cudaStream_t stream) {
  return launch(top_logits_kernel<T>, dim3(1), kThreads, 0, stream, logits, vocab_size, k, best);
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

}  // namespace kvcache::ops
