// A row of logits shared among the blocks of a cluster: one block alone is bound by the loads that
// it can have under way.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_code.cuh"
#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {

constexpr int kRowThreads = 512;  // of each block that shares a row

/// Whether a token is in a set, a bit for each (TokenMask); null: all are.
__device__ inline bool is_allowed(const unsigned* allowed, int token) {
  return allowed == nullptr || (allowed[token / 32] >> (token % 32) & 1U) != 0;
}

/// Blocks that share a row: more than two only while there are few rows to fill the device.
inline unsigned blocks_sharing_a_row(std::int64_t rows) {
  if (!device_has_clusters()) {
    return 1;
  }
  return rows <= 8 ? kMaxCluster : rows <= 16 ? kMaxCluster / 2 : 2;
}

/// Calls `consider` with each token of this thread's share of a row, and its logit. Blocks that
/// share it lie along z.
template <typename T, typename Consider>
__device__ void for_share_of_row(const T* logits, std::int64_t vocab_size,
                                 const Consider& consider) {
  const auto offer = [&](std::int64_t token, T logit) {
    consider(TopLogit{static_cast<int>(token), to_float(logit)});
  };
  constexpr int kVector = 16 / sizeof(T);
  // Rows of an odd vocabulary do not begin on 16 bytes.
  const auto misplaced =
      static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(logits) % 16 / sizeof(T));
  const std::int64_t head = min(misplaced == 0 ? 0 : kVector - misplaced, vocab_size);
  const std::int64_t vectors = (vocab_size - head) / kVector;
#pragma unroll 8
  for (std::int64_t v = std::int64_t{blockIdx.z} * kRowThreads + threadIdx.x; v < vectors;
       v += std::int64_t{gridDim.z} * kRowThreads) {
    const auto values = Vector<T>::load(logits + head + v * kVector);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      offer(head + v * kVector + i, values.elements[i]);
    }
  }
  const std::int64_t tail = head + vectors * kVector;
  if (blockIdx.z == 0) {
    if (threadIdx.x < head) {
      offer(threadIdx.x, logits[threadIdx.x]);
    }
    if (tail + threadIdx.x < vocab_size) {
      offer(tail + threadIdx.x, logits[tail + threadIdx.x]);
    }
  }
}

}  // namespace kvcache::kernels
