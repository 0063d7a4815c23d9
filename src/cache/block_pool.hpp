// The cache: pools of blocks, one for keys and one for values of each layer.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "cache/block.hpp"
#include "cache/layer_pools.hpp"
#include "cache/pool_shape.hpp"
#include "device/backend.hpp"
#include "kvcache/stats.hpp"
#include "model/layer_groups.hpp"

namespace kvcache::cache {

/// Holds blocks that it can do without.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;

  /// Gives back up to `bytes` of blocks that nobody else holds, and what it takes to reach them;
  /// returns how many that were. Called from any thread, without a lock of the pool.
  virtual std::size_t reclaim(std::size_t bytes) noexcept = 0;
};

/// Hands out blocks and counts references to them, in each group of layers: a block has a place of
/// its own in the pools of each group's layers, in those of the first group the one of its number.
/// Pool p is a tensor [places(group), num_heads, block_len, vector_elements] whose address never
/// changes; its memory is taken from the system in steps, and given back by trim(). The budget is
/// of all groups together. Thread-safe.
class BlockPool {
 public:
  /// `step`: blocks to take from the system at a time. `poison`: fill freed blocks with NaN, so
  /// that a read of what nobody wrote shows in the logits (for tests). The memory is `backend`'s.
  /// @throws Error out_of_memory
  BlockPool(const PoolShape& shape, std::size_t step, bool poison, device::Backend& backend,
            model::LayerGroups groups);
  /// The same with all layers in one group.
  BlockPool(const PoolShape& shape, std::size_t step, bool poison, device::Backend& backend)
      : BlockPool(shape, step, poison, backend, model::one_group(shape.num_layers, 0)) {}

  /// `count` blocks that have places in the first `groups` groups, or none. Where the budget is
  /// used up, reclaimers are asked first.
  /// @throws Error cache_full, out_of_memory
  std::vector<Block> allocate(std::size_t count, std::size_t groups);
  std::vector<Block> allocate(std::size_t count) { return allocate(count, groups_.size()); }

  /// Takes memory from the system until `count` blocks are free or in use.
  /// @throws Error cache_full, out_of_memory
  void reserve(std::size_t count);

  /// Asks `reclaimer` for blocks when the budget is used up, as long as it lives.
  void add_reclaimer(const std::shared_ptr<Reclaimer>& reclaimer);

  /// Gives the memory of all free blocks back to the system.
  void trim() noexcept;

  /// Copies keys and values of `count` consecutive tokens of a block to another one, in the layers
  /// that both hold; offsets count tokens. The bytes are counted in the statistics.
  void copy_tokens(const Block& from, std::size_t from_offset, const Block& to,
                   std::size_t to_offset, std::size_t count) noexcept;

  /// One block of a pool to and from memory of the host, [layer_block_bytes]; waits for the runs
  /// before.
  /// @throws Error run_failed
  void read_block(std::size_t pool, const Block& block, std::byte* to);
  void write_block(std::size_t pool, const Block& block, const std::byte* from);

  [[nodiscard]] const PoolShape& shape() const noexcept { return shape_; }

  [[nodiscard]] const model::LayerGroups& groups() const noexcept { return groups_; }

  /// The group of the layer that a pool is of.
  [[nodiscard]] std::size_t group_of_pool(std::size_t pool) const {
    return groups_.group_of_layer[pool / 2];
  }

  /// For blocks, in each pool of a group: one past the largest number that its rows of block tables
  /// hold.
  [[nodiscard]] std::size_t places(std::size_t group) const {
    return pools_of_[group].where().places;
  }

  /// Of one block in a group's layers.
  [[nodiscard]] std::size_t block_bytes(std::size_t group) const {
    return pools_of_[group].block_bytes();
  }

  /// Pool 2·layer holds the layer's keys, pool 2·layer + 1 its values. In the device's memory.
  [[nodiscard]] std::byte* pool_data(std::size_t pool) const noexcept {
    return memory_->data() + pool_begins_[pool];
  }

  /// Whether the host can read and write the pools.
  [[nodiscard]] bool on_host() const noexcept { return memory_->on_host(); }

  /// Blocks, bytes and copies; the nodes' counters are left at zero.
  [[nodiscard]] CacheStats stats() const;

  /// Checks that in each group every place is free, without memory or of one block in use, and only
  /// one of these.
  /// @throws std::logic_error naming the first place that is not (a bug of this library)
  void check_invariants() const;

 private:
  friend class Block;
  void add_reference(BlockId id, std::size_t group) noexcept;
  void drop_references(BlockId id, std::size_t first_group, std::size_t end_group) noexcept;
  [[nodiscard]] bool has_one_reference(BlockId id, std::size_t group) const noexcept;
  [[nodiscard]] BlockId place(BlockId id, std::size_t group) const noexcept;

  using CountsOfGroups = std::array<std::size_t, model::kMaxLayerGroups>;
  // All of these with mutex_ held.
  void commit(const CountsOfGroups& missing);
  [[nodiscard]] std::size_t bytes(const CountsOfGroups& blocks) const noexcept;
  [[nodiscard]] std::size_t bytes_in_use() const noexcept;
  [[nodiscard]] std::size_t bytes_with_memory() const noexcept;
  [[nodiscard]] std::size_t blocks_shared(std::size_t group) const;
  [[noreturn]] void throw_full(std::size_t more) const;  // blocks

  void reclaim(std::size_t bytes);  // without: what reclaimers drop comes back under it
  [[nodiscard]] std::size_t offset(std::size_t pool, const Block& block) const;
  [[nodiscard]] std::size_t budget() const noexcept {
    return shape_.max_blocks * shape_.block_bytes();
  }
  [[nodiscard]] std::atomic<std::uint32_t>& references(BlockId id, std::size_t group) const {
    return references_[group * places(0) + static_cast<std::size_t>(id)];
  }

  PoolShape shape_;
  model::LayerGroups groups_;
  std::size_t step_;
  bool poison_;
  std::vector<PoolPlaces> layout_;        // of each group
  std::vector<std::size_t> pool_begins_;  // in the memory
  std::unique_ptr<device::PoolMemory> memory_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> references_;  // [groups, places(0)]
  std::vector<BlockId> place_of_;  // [groups − 1, places(0)]: of blocks in use, from group 1 on
  std::atomic<std::uint64_t> bytes_copied_{0};

  std::mutex reclaimers_mutex_;  // never held together with mutex_
  std::vector<std::weak_ptr<Reclaimer>> reclaimers_;

  mutable std::mutex mutex_;
  std::vector<LayerPools> pools_of_;  // of each group
  std::size_t peak_bytes_ = 0;        // most that had memory
  std::uint64_t allocations_ = 0;
};

}  // namespace kvcache::cache
