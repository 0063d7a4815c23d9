// Where a run's tokens and their keys and values are, as the attention kernels ask it: `Args` is
// CachedAttentionArgs of some types.
#pragma once

#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

/// A new token: its row, and which of the row's tokens it is.
struct NewToken {
  int row;
  int begin;  // of its row, among all tokens
  int index;  // in its row
};

/// Whether a token lies behind all rows: it only fills up the run.
template <typename Args>
__device__ bool is_of_no_row(const Args& args, int token) {
  return args.row_offsets != nullptr && token >= args.row_offsets[args.rows];
}

/// The row that `token` is in, the last that begins at or before it. A warp together, which looks
/// at 32 rows at once.
template <typename Args>
__device__ NewToken find_token(const Args& args, int token) {
  if (args.row_offsets == nullptr) {
    const int per_row = static_cast<int>(args.tokens_per_row);
    return {token / per_row, token / per_row * per_row, token % per_row};
  }
  const auto rows = static_cast<int>(args.rows);
  int begun = 0;  // rows
  for (int base = 0; base < rows; base += 32) {
    const int row = base + static_cast<int>(threadIdx.x) % 32;
    begun += __popc(__ballot_sync(kAllLanes, row < rows && args.row_offsets[row] <= token));
  }
  const int begin = args.row_offsets[begun - 1];
  return {begun - 1, begin, token - begin};
}

template <typename Args>
__device__ int append_position(const Args& args, int row) {
  return args.append_positions != nullptr ? args.append_positions[row] : args.past_lengths[row];
}

/// The head of keys and values that a query's head reads.
template <typename Args>
__device__ int kv_head_of(const Args& args, int head) {
  return args.num_heads == args.num_kv_heads
             ? head
             : head / (static_cast<int>(args.num_heads) / static_cast<int>(args.num_kv_heads));
}

/// Whether a query's head is the first of those that read its head of keys and values.
template <typename Args>
__device__ bool is_first_of_group(const Args& args, int head) {
  return args.num_heads == args.num_kv_heads ||
         head % (static_cast<int>(args.num_heads) / static_cast<int>(args.num_kv_heads)) == 0;
}

/// The first position that a token at `position` sees.
template <typename Args>
__device__ int first_seen(const Args& args, int position) {
  const auto window = static_cast<int>(args.rules.window);
  return window == 0 ? 0 : max(position + 1 - window, 0);
}

/// A score as the softmax takes it.
template <typename Args>
__device__ float capped(const Args& args, float score) {
  const float cap = args.rules.soft_cap;
  return cap > 0 ? cap * tanhf(score / cap) : score;
}

/// The block length's bits, where it is a power of two as it usually is; otherwise below 0.
template <typename Args>
__device__ int block_len_shift(const Args& args) {
  const int block_len = static_cast<int>(args.block_len);
  return (block_len & (block_len - 1)) == 0 ? __ffs(block_len) - 1 : -1;
}

/// Where a position of a row lies in a pool, [vector_elements]; `head` is one of keys and values.
template <typename Args>
__device__ std::int64_t pool_offset(const Args& args, int row, int position, int head) {
  const int block_len = static_cast<int>(args.block_len);
  const int shift = block_len_shift(args);
  const int number = shift >= 0 ? position >> shift : position / block_len;
  const int block = args.block_table[row * args.blocks_per_row + number];
  return ((block * args.num_kv_heads + head) * block_len + position - number * block_len) *
         args.vector_elements();
}

/// Where a new token's query, key or value lies in `qkv`, [head_dim].
template <typename Args>
__device__ std::int64_t vector_offset(const Args& args, int token, std::int64_t vector) {
  return (token * (args.num_heads + 2 * args.num_kv_heads) + vector) * args.head_dim;
}
template <typename Args>
__device__ std::int64_t query_offset(const Args& args, int token, int head) {
  return vector_offset(args, token, head);
}
template <typename Args>
__device__ std::int64_t key_offset(const Args& args, int token, int kv_head) {
  return vector_offset(args, token, args.num_heads + kv_head);
}
template <typename Args>
__device__ std::int64_t value_offset(const Args& args, int token, int kv_head) {
  return vector_offset(args, token, args.num_heads + args.num_kv_heads + kv_head);
}

}  // namespace kvcache::kernels
