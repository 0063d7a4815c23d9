// The pools of layers that share a table of blocks: which places there have memory, and are free.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cache/pool_shape.hpp"
#include "device/pool_memory.hpp"

namespace kvcache::cache {

/// Where the pools of some layers lie in the cache's memory.
struct PoolPlaces {
  std::size_t layers;
  std::size_t places;  // for blocks, in each pool
  std::size_t begin;   // of the first pool
  std::size_t stride;  // from one pool to the next

  [[nodiscard]] std::size_t pools() const noexcept { return 2 * layers; }
  [[nodiscard]] std::size_t end() const noexcept { return begin + pools() * stride; }
};

/// Each place holds the keys and values of one block in these layers. Whoever uses it holds the
/// lock of BlockPool, but for what is const and for fill_with_nan and copy.
class LayerPools {
 public:
  LayerPools(const PoolShape& shape, const PoolPlaces& where, device::PoolMemory& memory);

  [[nodiscard]] const PoolPlaces& where() const noexcept { return where_; }
  /// Of one block in these layers.
  [[nodiscard]] std::size_t block_bytes() const noexcept {
    return where_.pools() * shape_.layer_block_bytes();
  }
  [[nodiscard]] std::size_t with_memory() const noexcept {
    return where_.places - unbacked_.size();
  }
  [[nodiscard]] std::size_t without_memory() const noexcept { return unbacked_.size(); }
  [[nodiscard]] std::size_t free() const noexcept { return free_.size(); }
  [[nodiscard]] std::size_t in_use() const noexcept { return with_memory() - free_.size(); }
  /// Where a place begins in the first of the pools.
  [[nodiscard]] std::size_t offset(BlockId place) const noexcept {
    return where_.begin + static_cast<std::size_t>(place) * shape_.layer_block_bytes();
  }

  /// One that is free.
  BlockId take() noexcept;
  void put_back(BlockId place) noexcept;

  /// Takes memory for `count` more places from the system.
  /// @throws Error out_of_memory; nothing has changed then
  void commit(std::size_t count);

  /// Gives the memory of all free places but `kept` back to the system.
  void trim(std::size_t kept) noexcept;

  void fill_with_nan(BlockId place) const noexcept;

  /// Copies `count` tokens from one place to another; offsets count tokens.
  void copy_tokens(BlockId from, std::size_t from_offset, BlockId to, std::size_t to_offset,
                   std::size_t count) const noexcept;

  /// Those that are free or without memory.
  void count_unused(std::vector<int>& times) const;

 private:
  template <typename Visit>
  void for_each_run(std::span<const BlockId> places, const Visit& visit) const;

  PoolShape shape_;
  PoolPlaces where_;
  device::PoolMemory* memory_;
  std::vector<BlockId> free_;      // a stack: the one used last, still in caches, is used next
  std::vector<BlockId> unbacked_;  // without memory, highest first: low ones are used first
};

}  // namespace kvcache::cache
