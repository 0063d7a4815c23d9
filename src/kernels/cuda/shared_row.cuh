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

/// A row of logits in vectors, and a few logits before the first and behind the last: rows of an
/// odd vocabulary do not begin on 16 bytes.
template <typename T>
struct VectorsOfRow {
  static constexpr int kSize = 16 / sizeof(T);

  const T* logits;
  int vocab_size;
  int before;  // the first
  int count;

  __device__ VectorsOfRow(const T* of_row, int tokens) : logits(of_row), vocab_size(tokens) {
    const int misplaced =
        static_cast<int>(reinterpret_cast<std::uintptr_t>(logits) % 16 / sizeof(T));
    before = min(misplaced == 0 ? 0 : kSize - misplaced, vocab_size);
    count = (vocab_size - before) / kSize;
  }

  [[nodiscard]] __device__ int first_of(int vector) const { return before + vector * kSize; }
  [[nodiscard]] __device__ Vector<T> load(int vector) const {
    return Vector<T>::load(logits + first_of(vector));
  }

  /// Calls offer(token, logit) with those of this thread that are in no vector.
  template <typename Offer>
  __device__ void for_others(const Offer& offer) const {
    if (blockIdx.z != 0) {
      return;
    }
    const auto thread = static_cast<int>(threadIdx.x);
    if (thread < before) {
      offer(thread, logits[thread]);
    }
    if (const int token = first_of(count) + thread; token < vocab_size) {
      offer(token, logits[token]);
    }
  }
};

/// Calls `consider` with each token of this thread's share of a row, and its logit. Blocks that
/// share it lie along z.
template <typename T, typename Consider>
__device__ void for_share_of_row(const T* logits, std::int64_t vocab_size,
                                 const Consider& consider) {
  const auto offer = [&](int token, T logit) { consider(TopLogit{token, to_float(logit)}); };
  const VectorsOfRow<T> row(logits, static_cast<int>(vocab_size));
  const int stride = static_cast<int>(gridDim.z) * kRowThreads;
#pragma unroll 8
  for (int v = static_cast<int>(blockIdx.z) * kRowThreads + static_cast<int>(threadIdx.x);
       v < row.count; v += stride) {
    const Vector<T> values = row.load(v);
#pragma unroll
    for (int i = 0; i < VectorsOfRow<T>::kSize; ++i) {
      offer(row.first_of(v) + i, values.elements[i]);
    }
  }
  row.for_others(offer);
}

}  // namespace kvcache::kernels
