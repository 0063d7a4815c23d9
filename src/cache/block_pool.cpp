#include "cache/block_pool.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/rounding.hpp"
#include "base/throw_error.hpp"

namespace kvcache::cache {
namespace {

/// Where the pools lie: each group's side by side, so that a copy or a fill is one call a group.
std::vector<PoolPlaces> lay_out(const PoolShape& shape, const model::LayerGroups& groups,
                                std::size_t alignment) {
  std::vector<PoolPlaces> layout;
  for (std::size_t group = 0; group < groups.size(); ++group) {
    const std::size_t layers = groups.layers_in(group);
    // What the budget permits where no other group has anything; no group has more than the first.
    const std::size_t most = shape.max_blocks * shape.num_layers / layers;
    const std::size_t places = layout.empty() ? most : std::min(most, layout.front().places);
    layout.push_back({.layers = layers,
                      .places = places,
                      .begin = layout.empty() ? 0 : layout.back().end(),
                      .stride = round_up(places * shape.layer_block_bytes(), alignment)});
  }
  return layout;
}

std::vector<std::size_t> begins_of_pools(const model::LayerGroups& groups,
                                         std::vector<PoolPlaces> layout) {
  std::vector<std::size_t> begins;
  for (const std::size_t group : groups.group_of_layer) {
    for (int pool = 0; pool < 2; ++pool) {  // keys, values
      begins.push_back(layout[group].begin);
      layout[group].begin += layout[group].stride;
    }
  }
  return begins;
}

}  // namespace

BlockPool::BlockPool(const PoolShape& shape, std::size_t step, bool poison,
                     device::Backend& backend, model::LayerGroups groups)
    : shape_(shape),
      groups_(std::move(groups)),
      step_(step),
      poison_(poison),
      layout_(lay_out(shape, groups_, backend.pool_alignment())),
      pool_begins_(begins_of_pools(groups_, layout_)),
      memory_(backend.reserve(layout_.back().end())),
      references_(
          std::make_unique<std::atomic<std::uint32_t>[]>(groups_.size() * layout_.front().places)),
      place_of_((groups_.size() - 1) * layout_.front().places) {
  for (const PoolPlaces& where : layout_) {
    pools_of_.emplace_back(shape, where, *memory_);
  }
}

std::vector<Block> BlockPool::allocate(std::size_t count, std::size_t groups) {
  std::vector<Block> blocks;
  if (count == 0) {
    return blocks;
  }
  blocks.reserve(count);
  CountsOfGroups wanted{};
  std::fill_n(wanted.begin(), groups, count);
  std::unique_lock lock(mutex_);
  if (const std::size_t left = budget() - bytes_in_use(); left < bytes(wanted)) {
    lock.unlock();
    reclaim(bytes(wanted) - left);
    lock.lock();
  }
  if (bytes(wanted) > budget() - bytes_in_use()) {
    throw_full(count);
  }
  CountsOfGroups missing{};
  for (std::size_t group = 0; group < groups; ++group) {
    missing[group] = count - std::min(count, pools_of_[group].free());
  }
  if (bytes(missing) > budget() - bytes_with_memory()) {
    // What is free in one group has the memory that another one lacks.
    for (std::size_t group = 0; group < groups_.size(); ++group) {
      pools_of_[group].trim(wanted[group]);
    }
  }
  commit(missing);
  for (std::size_t i = 0; i < count; ++i) {
    const BlockId id = pools_of_[0].take();
    references(id, 0).store(1, std::memory_order_relaxed);
    for (std::size_t group = 1; group < groups; ++group) {
      place_of_[(group - 1) * places(0) + static_cast<std::size_t>(id)] = pools_of_[group].take();
      references(id, group).store(1, std::memory_order_relaxed);
    }
    blocks.emplace_back(*this, id, groups);
  }
  return blocks;
}

void BlockPool::add_reclaimer(const std::shared_ptr<Reclaimer>& reclaimer) {
  const std::scoped_lock lock(reclaimers_mutex_);
  std::erase_if(reclaimers_, [](const auto& known) { return known.expired(); });
  reclaimers_.push_back(reclaimer);
}

void BlockPool::reclaim(std::size_t bytes) {
  std::vector<std::shared_ptr<Reclaimer>> living;
  {
    const std::scoped_lock lock(reclaimers_mutex_);
    for (const auto& reclaimer : reclaimers_) {
      if (auto alive = reclaimer.lock()) {
        living.push_back(std::move(alive));
      }
    }
  }
  for (const auto& reclaimer : living) {
    bytes -= std::min(bytes, reclaimer->reclaim(bytes));
  }
}

void BlockPool::reserve(std::size_t count) {
  const std::scoped_lock lock(mutex_);
  CountsOfGroups missing{};
  bool fits = true;
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    missing[group] = count - std::min(count, pools_of_[group].with_memory());
    fits = fits && missing[group] <= pools_of_[group].without_memory();
  }
  if (!fits || bytes(missing) > budget() - bytes_with_memory()) {
    throw_full(count - std::min(count, pools_of_[0].in_use()));
  }
  commit(missing);
}

/// Takes memory for so many more places in each group, which the budget permits, and for what makes
/// whole steps of them as far as it does. Where memory ends in a later group, those before it have
/// more free places.
void BlockPool::commit(const CountsOfGroups& missing) {
  std::size_t needed = bytes(missing);
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    if (missing[group] == 0) {
      continue;
    }
    LayerPools& pools = pools_of_[group];
    const std::size_t spare = budget() - bytes_with_memory() - needed;
    pools.commit(std::min({pools.without_memory(), round_up(missing[group], step_),
                           missing[group] + spare / pools.block_bytes()}));
    needed -= missing[group] * pools.block_bytes();
    peak_bytes_ = std::max(peak_bytes_, bytes_with_memory());
    ++allocations_;
  }
}

void BlockPool::throw_full(std::size_t more) const {
  constexpr const char* kAdvice =
      "drop or reset sequences, or load the model with more cache_bytes";
  if (groups_.size() == 1) {
    const std::size_t used = pools_of_[0].in_use();
    throw_error(ErrorCode::cache_full,
                "the cache's budget of {} blocks ({} bytes) is used up: {} in use, {} free, {} "
                "more needed; {}",
                shape_.max_blocks, budget(), used, shape_.max_blocks - used, more, kAdvice);
  }
  std::vector<std::string> used;
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    used.push_back(fmt::format("{} of {} bytes", pools_of_[group].in_use(), block_bytes(group)));
  }
  throw_error(ErrorCode::cache_full,
              "the cache's budget of {} bytes is used up: {} are free, {} more blocks of {} bytes "
              "needed; in use, by window of the layers: {}; {}",
              budget(), budget() - bytes_in_use(), more, shape_.block_bytes(),
              fmt::join(used, ", "), kAdvice);
}

std::size_t BlockPool::bytes(const CountsOfGroups& blocks) const noexcept {
  std::size_t bytes = 0;
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    bytes += blocks[group] * block_bytes(group);
  }
  return bytes;
}

std::size_t BlockPool::bytes_in_use() const noexcept {
  std::size_t bytes = 0;
  for (const LayerPools& pools : pools_of_) {
    bytes += pools.in_use() * pools.block_bytes();
  }
  return bytes;
}

std::size_t BlockPool::bytes_with_memory() const noexcept {
  std::size_t bytes = 0;
  for (const LayerPools& pools : pools_of_) {
    bytes += pools.with_memory() * pools.block_bytes();
  }
  return bytes;
}

void BlockPool::trim() noexcept {
  const std::scoped_lock lock(mutex_);
  for (LayerPools& pools : pools_of_) {
    pools.trim(0);
  }
}

void BlockPool::add_reference(BlockId id, std::size_t group) noexcept {
  references(id, group).fetch_add(1, std::memory_order_relaxed);
}

void BlockPool::drop_references(BlockId id, std::size_t first_group,
                                std::size_t end_group) noexcept {
  // The first group's goes last: with it goes the number, under which the others' places are found.
  for (std::size_t group = end_group; group-- > first_group;) {
    // Acquire and release: who frees or overwrites the block sees all that earlier holders did.
    if (references(id, group).fetch_sub(1, std::memory_order_acq_rel) > 1) {
      continue;
    }
    const BlockId freed = place(id, group);
    if (poison_) {
      pools_of_[group].fill_with_nan(freed);
    }
    const std::scoped_lock lock(mutex_);
    pools_of_[group].put_back(freed);
  }
}

bool BlockPool::has_one_reference(BlockId id, std::size_t group) const noexcept {
  return references(id, group).load(std::memory_order_acquire) == 1;
}

BlockId BlockPool::place(BlockId id, std::size_t group) const noexcept {
  return group == 0 ? id : place_of_[(group - 1) * places(0) + static_cast<std::size_t>(id)];
}

void BlockPool::copy_tokens(const Block& from, std::size_t from_offset, const Block& to,
                            std::size_t to_offset, std::size_t count) noexcept {
  for (std::size_t group = 0; from.held(group) && to.held(group); ++group) {
    const LayerPools& pools = pools_of_[group];
    pools.copy_tokens(from.place(group), from_offset, to.place(group), to_offset, count);
    bytes_copied_.fetch_add(count * pools.block_bytes() / shape_.block_len,
                            std::memory_order_relaxed);
  }
}

void BlockPool::read_block(std::size_t pool, const Block& block, std::byte* to) {
  memory_->read(offset(pool, block), to, shape_.layer_block_bytes());
}

void BlockPool::write_block(std::size_t pool, const Block& block, const std::byte* from) {
  memory_->write(offset(pool, block), from, shape_.layer_block_bytes());
}

std::size_t BlockPool::offset(std::size_t pool, const Block& block) const {
  return pool_begins_[pool] +
         static_cast<std::size_t>(block.place(group_of_pool(pool))) * shape_.layer_block_bytes();
}

CacheStats BlockPool::stats() const {
  const std::scoped_lock lock(mutex_);
  CacheStats stats;
  stats.block_len = shape_.block_len;
  stats.block_bytes = shape_.block_bytes();
  stats.blocks_in_use = pools_of_[0].in_use();
  stats.blocks_shared = blocks_shared(0);
  stats.blocks_free = pools_of_[0].free();
  stats.blocks_limit = shape_.max_blocks;
  stats.bytes_allocated = bytes_with_memory();
  stats.bytes_peak = peak_bytes_;
  stats.allocations = allocations_;
  stats.bytes_copied = bytes_copied_;
  for (std::size_t group = 0; groups_.size() > 1 && group < groups_.size(); ++group) {
    stats.groups.push_back({.window = groups_.windows[group],
                            .layers = groups_.layers_in(group),
                            .block_bytes = block_bytes(group),
                            .blocks_in_use = pools_of_[group].in_use(),
                            .blocks_shared = blocks_shared(group),
                            .blocks_free = pools_of_[group].free()});
  }
  return stats;
}

std::size_t BlockPool::blocks_shared(std::size_t group) const {
  const auto* const first = references_.get() + group * places(0);
  return static_cast<std::size_t>(std::count_if(
      first, first + places(0), [](const auto& references) { return references.load() > 1; }));
}

void BlockPool::check_invariants() const {
  const std::scoped_lock lock(mutex_);
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    std::vector<int> seen(places(group), 0);
    pools_of_[group].count_unused(seen);
    for (std::size_t i = 0; i < places(0); ++i) {
      const auto id = static_cast<BlockId>(i);
      const std::uint32_t count = references(id, group).load();
      if (count > 0) {
        ++seen[static_cast<std::size_t>(place(id, group))];
      }
      if (group > 0 && count > references(id, group - 1).load()) {
        throw std::logic_error(fmt::format(
            "block {} has more references in group {} than in the one before", id, group));
      }
    }
    for (std::size_t place = 0; place < places(group); ++place) {
      if (seen[place] != 1) {
        throw std::logic_error(fmt::format(
            "place {} of group {} is {} times free, without memory or of a block in use", place,
            group, seen[place]));
      }
    }
  }
}

}  // namespace kvcache::cache
