// The cache: pools of blocks, one for keys and one for values of each layer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "device/backend.hpp"
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
  std::size_t scale_bytes = 0;  // behind each vector of integers, a multiple of element_bytes

  /// Of one token of one head in one pool: [head_dim], and the vector's scale.
  [[nodiscard]] std::size_t vector_bytes() const noexcept {
    return head_dim * element_bytes + scale_bytes;
  }
  /// The last axis of a pool as a tensor.
  [[nodiscard]] std::size_t vector_elements() const noexcept {
    return vector_bytes() / element_bytes;
  }
  /// Of one block of one head in one pool: [block_len, vector_elements].
  [[nodiscard]] std::size_t head_bytes() const noexcept { return block_len * vector_bytes(); }
  /// Of one block in one pool: [num_heads, block_len, vector_elements].
  [[nodiscard]] std::size_t layer_block_bytes() const noexcept { return num_heads * head_bytes(); }
  [[nodiscard]] std::size_t num_pools() const noexcept { return 2 * num_layers; }
  /// Of one token in all pools.
  [[nodiscard]] std::size_t token_bytes() const noexcept {
    return num_pools() * num_heads * vector_bytes();
  }
  /// Of one block in all pools.
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_len * token_bytes(); }
};

class BlockPool;

/// One holder's reference to a block; the block is free when its last reference goes. Move-only:
/// sharing is spelled out. One that was given back still has its number, which stands in block
/// tables where nobody looks.
class Block {
 public:
  Block(BlockPool& pool, BlockId id) noexcept : pool_(&pool), id_(id) {}
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();

  /// A place of a block table that nobody looks at, and the number that stands there.
  static Block given_back(BlockId id) noexcept { return {nullptr, id}; }

  /// Drops the reference before this object goes.
  void give_back() noexcept;

  /// Whether this is still a reference.
  [[nodiscard]] bool held() const noexcept { return pool_ != nullptr; }

  /// Another reference to the same block; of one that was given back, none either.
  [[nodiscard]] Block share() const noexcept;

  /// Whether nobody else refers to the block, so that it may be written to. A false answer can
  /// become true at any time, a true one only by share() on this very object.
  [[nodiscard]] bool exclusive() const noexcept;

  [[nodiscard]] BlockId id() const noexcept { return id_; }

 private:
  Block(BlockPool* pool, BlockId id) noexcept : pool_(pool), id_(id) {}

  BlockPool* pool_;  // null: no reference
  BlockId id_;
};

/// Holds blocks that it can do without.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;

  /// Gives back up to `count` blocks that nobody else holds; returns how many that were. Called
  /// from any thread, without a lock of the pool.
  virtual std::size_t reclaim(std::size_t count) noexcept = 0;
};

/// Hands out blocks and counts references to them. Pool p is a tensor
/// [max_blocks, num_heads, block_len, vector_elements] whose address never changes; its memory is
/// taken from the system in steps, and given back by trim(). Thread-safe.
class BlockPool {
 public:
  /// `step`: blocks to take from the system at a time. `poison`: fill freed blocks with NaN, so
  /// that a read of what nobody wrote shows in the logits (for tests). The memory is `backend`'s.
  /// @throws Error out_of_memory
  BlockPool(const PoolShape& shape, std::size_t step, bool poison, device::Backend& backend);

  /// `count` blocks, or none. Where the budget is used up, reclaimers are asked first.
  /// @throws Error cache_full, out_of_memory
  std::vector<Block> allocate(std::size_t count);

  /// Takes memory from the system until `count` blocks are free or in use.
  /// @throws Error cache_full, out_of_memory
  void reserve(std::size_t count);

  /// Asks `reclaimer` for blocks when the budget is used up, as long as it lives.
  void add_reclaimer(const std::shared_ptr<Reclaimer>& reclaimer);

  /// Gives the memory of all free blocks back to the system.
  void trim() noexcept;

  /// Copies keys and values of `count` consecutive tokens of a block to another one; offsets count
  /// tokens. The bytes are counted in the statistics.
  void copy_tokens(const Block& from, std::size_t from_offset, const Block& to,
                   std::size_t to_offset, std::size_t count) noexcept;

  /// One block of a pool to and from memory of the host, [layer_block_bytes]; waits for the runs
  /// before.
  /// @throws Error run_failed
  void read_block(std::size_t pool, const Block& block, std::byte* to);
  void write_block(std::size_t pool, const Block& block, const std::byte* from);

  [[nodiscard]] const PoolShape& shape() const noexcept { return shape_; }

  /// Pool 2·layer holds the layer's keys, pool 2·layer + 1 its values. In the device's memory.
  [[nodiscard]] std::byte* pool_data(std::size_t pool) const noexcept {
    return memory_->data() + pool * pool_stride_;
  }

  /// Whether the host can read and write the pools.
  [[nodiscard]] bool on_host() const noexcept { return memory_->on_host(); }

  /// Blocks, bytes and copies; the nodes' counters are left at zero.
  [[nodiscard]] CacheStats stats() const;

  /// Checks that every block is free, in use or without memory, and only one of these.
  /// @throws std::logic_error naming the first block that is not (a bug of this library)
  void check_invariants() const;

 private:
  friend class Block;
  void add_reference(BlockId id) noexcept;
  void drop_reference(BlockId id) noexcept;
  [[nodiscard]] bool has_one_reference(BlockId id) const noexcept;
  void commit_blocks(std::size_t count);  // with mutex_ held
  /// Calls visit(begin, end) for the memory of consecutive ones among `blocks`, highest first, in
  /// each pool.
  template <typename Visit>
  void for_each_run(std::span<const BlockId> blocks, const Visit& visit) const;
  void reclaim(std::size_t count);  // without: what reclaimers drop comes back under it
  void fill_with_nan(BlockId id) noexcept;
  [[nodiscard]] std::size_t offset(std::size_t pool, const Block& block) const noexcept;
  [[nodiscard]] std::size_t blocks_in_use() const noexcept;  // with mutex_ held

  PoolShape shape_;
  std::size_t step_;
  bool poison_;
  std::size_t pool_stride_;  // bytes from one pool to the next, whole pages
  std::unique_ptr<device::PoolMemory> memory_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> references_;  // [max_blocks]
  std::atomic<std::uint64_t> bytes_copied_{0};

  std::mutex reclaimers_mutex_;  // never held together with mutex_
  std::vector<std::weak_ptr<Reclaimer>> reclaimers_;

  mutable std::mutex mutex_;
  std::vector<BlockId> free_;      // a stack: the block used last, still in caches, is used next
  std::vector<BlockId> unbacked_;  // without memory, highest first: low blocks are used first
  std::size_t peak_blocks_ = 0;    // most that had memory
  std::uint64_t allocations_ = 0;
};

}  // namespace kvcache::cache
