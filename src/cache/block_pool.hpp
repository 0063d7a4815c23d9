// The cache: pools of blocks, one for keys and one for values of each layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "device/reserved_memory.hpp"
#include "kvcache/stats.hpp"

namespace kvcache::cache {

using BlockId = std::int32_t;  // as block tables hold it

/// Sizes of a cache. A block holds `block_len` tokens in every layer.
struct PoolShape {
  std::size_t num_layers;
  std::size_t num_heads;
  std::size_t head_dim;
  std::size_t block_len;
  std::size_t element_bytes;
  std::size_t max_blocks;

  /// Of one block in one pool: [num_heads, block_len, head_dim].
  [[nodiscard]] std::size_t layer_block_bytes() const noexcept {
    return num_heads * block_len * head_dim * element_bytes;
  }
  [[nodiscard]] std::size_t num_pools() const noexcept { return 2 * num_layers; }
  /// Of one block in all pools.
  [[nodiscard]] std::size_t block_bytes() const noexcept {
    return num_pools() * layer_block_bytes();
  }
};

class BlockPool;

/// A block held by a sequence; gives it back when it goes. Move-only.
class Block {
 public:
  Block(BlockPool& pool, BlockId id) noexcept : pool_(&pool), id_(id) {}
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();

  [[nodiscard]] BlockId id() const noexcept { return id_; }

 private:
  BlockPool* pool_;
  BlockId id_;
};

/// Hands out blocks. Pool p is a tensor [max_blocks, num_heads, block_len, head_dim] whose address
/// never changes; its memory is taken from the system block by block, in steps. Thread-safe.
class BlockPool {
 public:
  /// `step`: blocks to take from the system at a time.
  /// @throws Error out_of_memory
  BlockPool(const PoolShape& shape, std::size_t step);

  /// `count` blocks, or none.
  /// @throws Error cache_full, out_of_memory
  std::vector<Block> allocate(std::size_t count);

  /// Takes memory from the system until `count` blocks are free or in use.
  /// @throws Error cache_full, out_of_memory
  void reserve(std::size_t count);

  [[nodiscard]] const PoolShape& shape() const noexcept { return shape_; }

  /// Pool 2·layer holds the layer's keys, pool 2·layer + 1 its values.
  [[nodiscard]] std::byte* pool_data(std::size_t pool) const noexcept {
    return memory_.data() + pool * pool_stride_;
  }

  /// Blocks and bytes; the nodes' counters are left at zero.
  [[nodiscard]] CacheStats stats() const;

 private:
  friend class Block;
  void release(BlockId id) noexcept;
  void grow_to(std::size_t blocks);  // with mutex_ held

  PoolShape shape_;
  std::size_t step_;
  std::size_t pool_stride_;  // bytes from one pool to the next, whole pages
  device::ReservedMemory memory_;

  mutable std::mutex mutex_;
  std::vector<BlockId> free_;  // a stack: the block used last is used next, while it is in caches
  std::size_t committed_blocks_ = 0;
  std::uint64_t allocations_ = 0;
};

}  // namespace kvcache::cache
