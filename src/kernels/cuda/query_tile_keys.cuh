// The keys and values that a tile of queries attends to, on their way to shared memory, and its own
// on theirs to the pools.
#pragma once

#include "kernels/cuda/query_tile.cuh"

namespace kvcache::kernels::query_tile {

/// Brings the keys and values of steps to shared memory, each thread the same places of each step.
template <typename T, typename Shape>
class KeysAndValues {
 public:
  /// Keys before `first` may have been given back, and there are none from `total` on.
  __device__ KeysAndValues(const CachedAttentionArgs<T>& args, const Tile& tile, int kv_head,
                           int past, int first, int total)
      : past_(past),
        first_(first),
        total_(total),
        table_(args.block_table + tile.row * args.blocks_per_row),
        blocks_of_(args.block_len),
        block_stride_(args.num_kv_heads * args.block_len * Shape::kHeadDim),
        token_stride_((args.num_heads + 2 * args.num_kv_heads) * Shape::kHeadDim) {
    const std::int64_t of_head = kv_head * args.block_len * Shape::kHeadDim + first_of_vector();
    pool_keys_ = args.key_pool + of_head;
    pool_values_ = args.value_pool + of_head;
    new_keys_ = args.qkv + key_offset(args, tile.begin, kv_head) + first_of_vector();
    new_values_ = args.qkv + value_offset(args, tile.begin, kv_head) + first_of_vector();
  }

  /// Of the step from key `base` on those of the past, `to` [kKeys, kKeyStride] and
  /// [kKeys, kValueStride]. bring_new() comes behind it.
  __device__ void bring_past(int base, T* to) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int number = base + row(i);
      within_[i] = number;
      const int block = blocks_of_.of(within_[i]);
      blocks_[i] = number >= first_ && number < past_ ? table_[block] : -1;
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (blocks_[i] >= 0 && has_row(i)) {
        const std::int64_t from = blocks_[i] * block_stride_ + within_[i] * Shape::kHeadDim;
        copy_to_shared(key_place(to, i), pool_keys_ + from);
        copy_to_shared(value_place(to, i), pool_values_ + from);
      }
    }
  }

  /// The others: new tokens', and zeros where there is none.
  __device__ void bring_new(int base, T* to) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (blocks_[i] < 0 && has_row(i)) {
        const int number = base + row(i);
        const bool is_new = number >= past_ && number < total_;
        const std::int64_t from = is_new ? (number - past_) * token_stride_ : 0;
        copy_or_clear(key_place(to, i), new_keys_ + from, is_new);
        copy_or_clear(value_place(to, i), new_values_ + from, is_new);
      }
    }
  }

 private:
  // A thread has one column of every kRowStep-th row.
  static constexpr int kRowStep = Shape::kThreads / Shape::kVectors;
  static constexpr int kRows = divide_up(Shape::kKeys, kRowStep);

  __device__ static int column() { return static_cast<int>(threadIdx.x) % Shape::kVectors; }
  __device__ static int row(int i) {
    return static_cast<int>(threadIdx.x) / Shape::kVectors + i * kRowStep;
  }
  __device__ static int first_of_vector() { return Shape::kVector * column(); }
  __device__ static T* key_place(T* step, int i) {
    return step + row(0) * Shape::kKeyStride + first_of_vector() + i * kRowStep * Shape::kKeyStride;
  }
  __device__ static T* value_place(T* step, int i) {
    return step + Shape::kValuesAt + row(0) * Shape::kValueStride + first_of_vector() +
           i * kRowStep * Shape::kValueStride;
  }
  /// Threads beyond the last whole row of columns, and rows beyond the step, have nothing.
  __device__ static bool has_row(int i) {
    return (Shape::kThreads % Shape::kVectors == 0 || row(0) < kRowStep) &&
           (Shape::kKeys % kRowStep == 0 || row(i) < Shape::kKeys);
  }

  int past_;
  int first_;
  int total_;
  const std::int32_t* table_;
  BlockOfPosition blocks_of_;
  std::int64_t block_stride_;
  std::int64_t token_stride_;
  const T* pool_keys_;
  const T* pool_values_;
  const T* new_keys_;
  const T* new_values_;
  int blocks_[kRows] = {};  // -1: not of the past
  int within_[kRows] = {};  // them
};

/// Writes the tile's keys and values to the pools.
template <typename T, typename Shape>
__device__ void append_tile(const CachedAttentionArgs<T>& args, const Tile& tile, int kv_head) {
  using Chunk = Vector<T, Shape::kVector>;
  const int first_position = append_position(args, tile.row) + tile.first;
  const RowOfPool pool(args, tile.row, kv_head);
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < tile.count * Shape::kVectors;
       i += Shape::kThreads) {
    const int query = i / Shape::kVectors;
    const int column = i % Shape::kVectors * Shape::kVector;
    const int token = tile.begin + tile.first + query;
    const Chunk key = Chunk::load(args.qkv + key_offset(args, token, kv_head) + column);
    const Chunk value = Chunk::load(args.qkv + value_offset(args, token, kv_head) + column);
    const std::int64_t to = pool.offset(first_position + query) + column;
    key.store(args.key_pool + to);
    value.store(args.value_pool + to);
  }
}

}  // namespace kvcache::kernels::query_tile
