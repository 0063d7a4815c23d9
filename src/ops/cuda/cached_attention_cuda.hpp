// The attention kernel on CUDA.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "ops/cached_attention_args.hpp"

namespace kvcache::ops {

/// Parts that the positions a token sees are divided into, each of which a thread block of its own
/// works on: few tokens with a long past must fill the device too.
struct AttentionSplits {
  std::int64_t count = 1;

  /// As many as make `tokens · num_heads` blocks fill a device of `multiprocessors`, but no more
  /// than a context of `max_seq_len` is worth.
  static AttentionSplits choose(std::int64_t tokens, std::int64_t num_heads,
                                std::int64_t max_seq_len, int multiprocessors);

  /// Bytes of the partial results' buffer; 0 without splits.
  [[nodiscard]] std::size_t scratch_bytes(std::int64_t tokens, std::int64_t num_heads,
                                          std::int64_t head_dim) const;
};

/// Appends the new tokens' keys and values to the pool, then attends, on `stream`. T is float,
/// __half or __nv_bfloat16; arithmetic is float32. All pointers of `args` are of the device, which
/// reads lengths, tables and parents itself: a captured graph serves every depth. `tokens` are
/// those of all rows; head_dim is at most 256. `scratch`: splits.scratch_bytes().
///
/// Returns cudaErrorInvalidValue where head_dim is too large, otherwise what launching returned.
template <typename T>
cudaError_t cached_attention_cuda(const CachedAttentionArgs<T>& args, std::int64_t tokens,
                                  AttentionSplits splits, void* scratch, cudaStream_t stream);

}  // namespace kvcache::ops
