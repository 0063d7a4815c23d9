// The blocks of one sequence, in the order of its tokens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cache/block_pool.hpp"

namespace kvcache::cache {

/// What a table needs in order to take more tokens: made before a run, applied after it succeeded,
/// dropped when it failed. Until then the table is as it was.
struct Growth {
  std::optional<Block> writable_last;  // takes the place of a last block that others hold too
  std::vector<Block> added;
};

/// The first token of which each group of layers has keys and values.
using FirstCached = std::array<std::size_t, model::kMaxLayerGroups>;

/// Token i of the sequence is in block i / block_len. Blocks may be shared with other tables; only
/// a block that nobody else holds is written to. The first ones may have been given back, in all
/// groups of layers or in the last ones, because no token to come sees what they hold there: their
/// entries are holes, and the others stay where they are.
class BlockTable {
 public:
  explicit BlockTable(BlockPool& pool) noexcept : pool_(&pool) {}

  /// Makes room for the blocks of `length` tokens, so that apply() does not allocate.
  void reserve(std::size_t length);

  /// Blocks for `count` more tokens after the first `length`. Copies the tokens of a last block
  /// that is partly filled and shared (copy on write), at most one.
  /// @throws Error cache_full, out_of_memory
  [[nodiscard]] Growth plan_growth(std::size_t length, std::size_t count) const;

  void apply(Growth&& growth);

  /// Gives back, in the layers of a group and of those behind it, the blocks that hold only tokens
  /// before `first`, which nobody will look at there again; not the last block.
  void give_back(std::size_t group, std::size_t first) noexcept;

  /// Makes room for `length` tokens in an empty table, of which the first are not there; no group
  /// has fewer than one behind it.
  /// @throws Error cache_full, out_of_memory; the table is then empty
  void fill(const FirstCached& first_cached, std::size_t length);

  /// 0, unless blocks were given back. No group has fewer than one behind it.
  [[nodiscard]] const FirstCached& first_cached() const noexcept { return first_cached_; }

  /// The first token whose keys and values are there in all layers.
  [[nodiscard]] std::size_t first_cached_in_all() const noexcept {
    return first_cached_[pool_->groups().size() - 1];
  }

  /// The same blocks, shared, and the same holes: no tensor is copied.
  [[nodiscard]] BlockTable share() const;

  /// Gives back the blocks that the first `length` tokens do not need; of a table with holes,
  /// `length` is above first_cached_in_all(), or 0.
  void shrink_to(std::size_t length) noexcept;

  /// Of `length` tokens, those in [first, first + count) leave and those behind move up. `count` is
  /// a multiple of block_len and leaves some behind: whole blocks are given back. Only where
  /// `first` lies inside a block is something copied, less than a block: what moves up into that
  /// one, and what precedes it there if others hold it too. For windows of models whose positions
  /// are relative: what stays is valid as it is. The table has no holes.
  /// @throws Error cache_full, out_of_memory; the table is then as it was
  void evict(std::size_t first, std::size_t count, std::size_t length);

  /// Writes the blocks' numbers in a group into a row of the graph's block_table, as if `growth`
  /// were applied, and −1 behind them.
  void write_ids(const Growth& growth, std::size_t group, std::span<BlockId> row) const;

  [[nodiscard]] std::span<const Block> blocks() const noexcept { return blocks_; }

  /// The block of token `token`, and where in it.
  [[nodiscard]] const Block& block_of(std::size_t token) const {
    return blocks_[token / block_len()];
  }
  [[nodiscard]] std::size_t offset_of(std::size_t token) const { return token % block_len(); }
  [[nodiscard]] std::size_t block_len() const noexcept { return pool_->shape().block_len; }
  [[nodiscard]] BlockPool& pool() const noexcept { return *pool_; }

 private:
  BlockPool* pool_;
  std::vector<Block> blocks_;
  FirstCached first_cached_{};  // those of the blocks before its own are holes in the group
};

}  // namespace kvcache::cache
