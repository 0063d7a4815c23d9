// One holder's reference to a block of the cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/pool_shape.hpp"

namespace kvcache::cache {

class BlockPool;

/// A reference to what a block holds in the first groups of layers (model::LayerGroups): in all of
/// them at first. What a group's layers hold is free when the last reference to that goes, and the
/// block when none is left. Move-only: sharing is spelled out. One that was given back still has
/// its number, which stands in block tables where nobody looks.
class Block {
 public:
  Block(BlockPool& pool, BlockId id, std::size_t groups) noexcept
      : pool_(&pool), id_(id), groups_(static_cast<std::uint32_t>(groups)) {}
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();

  /// A place of a block table that nobody looks at, and the number that stands there.
  static Block given_back(BlockId id) noexcept { return {nullptr, id, 0}; }

  /// Drops the reference to what groups from this one on hold, before this object goes.
  void give_back(std::size_t first_group = 0) noexcept;

  /// Whether this is still a reference to what a group holds.
  [[nodiscard]] bool held(std::size_t group = 0) const noexcept { return group < groups_; }

  /// Another reference to the same; of one that was given back, none either.
  [[nodiscard]] Block share() const noexcept;

  /// Whether nobody else refers to the block, so that it may be written to. A false answer can
  /// become true at any time, a true one only by share() on this very object.
  [[nodiscard]] bool exclusive() const noexcept;

  /// What would be free if this reference went, in all layers; in the same sense.
  [[nodiscard]] std::size_t exclusive_bytes() const noexcept;

  [[nodiscard]] BlockId id() const noexcept { return id_; }

  /// Its number in the pools of a group's layers.
  [[nodiscard]] BlockId place(std::size_t group) const noexcept;

 private:
  friend class BlockPool;
  Block(BlockPool* pool, BlockId id, std::uint32_t groups) noexcept
      : pool_(pool), id_(id), groups_(groups) {}

  BlockPool* pool_;  // null: no reference
  BlockId id_;
  std::uint32_t groups_;  // what is referred to is in the first so many
};

}  // namespace kvcache::cache
