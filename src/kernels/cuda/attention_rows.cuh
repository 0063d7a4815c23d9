// Where a run's tokens and their keys and values are, as the attention kernels ask it: `Args` is
// CachedAttentionArgs of some types.
//
// Their code is short, and what few runs need out of the way: what an attention takes behind its
// query is one instruction after the other.
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
#pragma unroll 1
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

__device__ __noinline__ inline float softly_capped(float score, float cap) {
  return cap * tanhf(score / cap);
}

/// A score as the softmax takes it.
template <typename Args>
__device__ float capped(const Args& args, float score) {
  const float cap = args.rules.soft_cap;
  return cap > 0 ? softly_capped(score, cap) : score;
}

/// Which block of a row has a position, by multiplying: dividing is many instructions.
class BlockOfPosition {
 public:
  __device__ explicit BlockOfPosition(std::int64_t block_len)
      : block_len_(static_cast<unsigned>(block_len)), share_(0xFFFFFFFFU / block_len_) {}

  /// `position` becomes the one within the block.
  [[nodiscard]] __device__ int of(int& position) const {
    const auto at = static_cast<unsigned>(position);
    unsigned number = __umulhi(at, share_);  // or one too few
    unsigned within = at - number * block_len_;
    if (within >= block_len_) {
      ++number;
      within -= block_len_;
    }
    position = static_cast<int>(within);
    return static_cast<int>(number);
  }

 private:
  unsigned block_len_;
  unsigned share_;
};

/// Where positions of a row lie in a pool, of one head of keys and values.
class RowOfPool {
 public:
  template <typename Args>
  __device__ RowOfPool(const Args& args, int row, int kv_head)
      : blocks_(args.block_len),
        table_(args.block_table + row * args.blocks_per_row),
        vector_elements_(static_cast<int>(args.vector_elements())),
        first_of_head_(kv_head * static_cast<int>(args.block_len)),
        block_elements_(args.num_kv_heads * args.block_len * args.vector_elements()) {}

  /// [vector_elements]
  [[nodiscard]] __device__ std::int64_t offset(int position) const {
    const int block = table_[blocks_.of(position)];
    return block * block_elements_ + std::int64_t{first_of_head_ + position} * vector_elements_;
  }

 private:
  BlockOfPosition blocks_;
  const std::int32_t* table_;
  int vector_elements_;
  int first_of_head_;  // within a block
  std::int64_t block_elements_;
};

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
