// The attention kernels on CUDA.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/launch_order.hpp"

namespace kvcache::kernels {

/// Parts that a token's past is divided into, each of which a thread block of its own works on: few
/// tokens with a long past must fill the device too. As many as make `tokens · num_heads` blocks
/// fill a device of `multiprocessors`; at most 8, and 1 on devices before sm_90.
std::int64_t attention_splits(std::int64_t tokens, std::int64_t num_heads, int multiprocessors);

/// Appends the new tokens' keys and values to the pool and attends, one kernel, a
/// thread block per token, head and split. T is float, __half or __nv_bfloat16, and so is Cache;
/// where T is float, Cache may be any of these or int8, and every token attends to what is kept.
/// Arithmetic is float32. All pointers of `args` are of the device, which reads lengths, tables and
/// parents itself: a captured graph serves every depth. `tokens` are those of all rows; head_dim is
/// at most 256.
///
/// Returns cudaErrorInvalidValue where head_dim is too large, otherwise what launching returned.
template <typename T, typename Cache>
cudaError_t cached_attention_by_token(const CachedAttentionArgs<T, Cache>& args,
                                      std::int64_t tokens, std::int64_t splits, LaunchOrder order);

/// Whether cached_attention_by_tile() takes this size of head, this many tokens, and trees where
/// there is a window.
template <typename T>
bool attention_tiles_fit(const CachedAttentionArgs<T>& args, std::int64_t tokens);

/// The same on tensor cores, a thread block per 64 tokens of a row and head: for rows of many
/// tokens. Sums are float32; weights of the softmax are rounded to T.
template <typename T>
cudaError_t cached_attention_by_tile(const CachedAttentionArgs<T>& args, std::int64_t tokens,
                                     int multiprocessors, LaunchOrder order);

}  // namespace kvcache::kernels
