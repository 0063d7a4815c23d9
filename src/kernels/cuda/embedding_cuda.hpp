// The first node of a run on CUDA, and what reads the last one's logits.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kvcache::kernels {

/// out[i] = scale · token_weight[input_ids[i]] + position_weight[position_ids[i]]. Ids outside the
/// tables give NaN.
template <typename T>
struct EmbeddingCudaArgs {
  const std::int64_t* input_ids = nullptr;     // [tokens]
  const std::int64_t* position_ids = nullptr;  // [tokens]
  const T* token_weight = nullptr;             // [vocab_size, size]
  const T* position_weight = nullptr;          // [max_seq_len, size], or null
  T* out = nullptr;                            // [tokens, size]
  std::int64_t tokens = 0;
  std::int64_t size = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_seq_len = 0;  // of position_weight
  float scale = 1;
};

template <typename T>
cudaError_t token_embedding_cuda(const EmbeddingCudaArgs<T>& args, cudaStream_t stream);

}  // namespace kvcache::kernels
