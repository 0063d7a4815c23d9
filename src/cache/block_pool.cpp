#include "cache/block_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <utility>

#include "base/rounding.hpp"
#include "base/throw_error.hpp"

namespace kvcache::cache {
Block::Block(Block&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}

Block& Block::operator=(Block&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(id_, other.id_);
  return *this;
}

Block::~Block() { give_back(); }

void Block::give_back() noexcept {
  if (pool_ != nullptr) {
    std::exchange(pool_, nullptr)->drop_reference(id_);
  }
}

Block Block::share() const noexcept {
  if (pool_ != nullptr) {
    pool_->add_reference(id_);
  }
  return {pool_, id_};
}

bool Block::exclusive() const noexcept { return pool_->has_one_reference(id_); }

BlockPool::BlockPool(const PoolShape& shape, std::size_t step, bool poison,
                     device::Backend& backend)
    : shape_(shape),
      step_(step),
      poison_(poison),
      pool_stride_(
          round_up(shape.max_blocks * shape.layer_block_bytes(), backend.pool_alignment())),
      memory_(backend.reserve(pool_stride_ * shape.num_pools())),
      references_(std::make_unique<std::atomic<std::uint32_t>[]>(shape.max_blocks)) {
  free_.reserve(shape.max_blocks);  // dropping a reference must not allocate
  unbacked_.resize(shape.max_blocks);
  for (std::size_t i = 0; i < shape.max_blocks; ++i) {
    unbacked_[i] = static_cast<BlockId>(shape.max_blocks - 1 - i);
  }
}

std::vector<Block> BlockPool::allocate(std::size_t count) {
  std::vector<Block> blocks;
  blocks.reserve(count);
  std::unique_lock lock(mutex_);
  if (const std::size_t left = free_.size() + unbacked_.size(); left < count) {
    lock.unlock();
    reclaim(count - left);
    lock.lock();
  }
  if (free_.size() < count) {
    commit_blocks(count - free_.size());
  }
  for (std::size_t i = 0; i < count; ++i) {
    const BlockId id = free_.back();
    free_.pop_back();
    references_[static_cast<std::size_t>(id)].store(1, std::memory_order_relaxed);
    blocks.emplace_back(*this, id);
  }
  return blocks;
}

void BlockPool::add_reclaimer(const std::shared_ptr<Reclaimer>& reclaimer) {
  const std::scoped_lock lock(reclaimers_mutex_);
  std::erase_if(reclaimers_, [](const auto& known) { return known.expired(); });
  reclaimers_.push_back(reclaimer);
}

void BlockPool::reclaim(std::size_t count) {
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
    count -= std::min(count, reclaimer->reclaim(count));
  }
}

void BlockPool::reserve(std::size_t count) {
  const std::scoped_lock lock(mutex_);
  const std::size_t backed = shape_.max_blocks - unbacked_.size();
  if (count > backed) {
    commit_blocks(count - backed);
  }
}

template <typename Visit>
void BlockPool::for_each_run(std::span<const BlockId> blocks, const Visit& visit) const {
  const std::size_t bytes = shape_.layer_block_bytes();
  for (auto run = blocks.begin(); run != blocks.end();) {
    auto next = run + 1;
    while (next != blocks.end() && *next + 1 == *(next - 1)) {
      ++next;
    }
    const auto low = static_cast<std::size_t>(*(next - 1));
    const auto high = static_cast<std::size_t>(*run) + 1;
    for (std::size_t pool = 0; pool < shape_.num_pools(); ++pool) {
      const std::size_t begin = pool * pool_stride_;
      visit(begin + low * bytes, begin + high * bytes);
    }
    run = next;
  }
}

void BlockPool::commit_blocks(std::size_t count) {
  if (count > unbacked_.size()) {
    const std::size_t used = blocks_in_use();
    throw_error(ErrorCode::cache_full,
                "the cache's budget of {} blocks ({} bytes) is used up: {} in use, {} free, {} "
                "more needed; drop or reset sequences, or load the model with more cache_bytes",
                shape_.max_blocks, shape_.max_blocks * shape_.block_bytes(), used,
                shape_.max_blocks - used, count + free_.size());
  }
  const std::size_t taken = std::min(unbacked_.size(), round_up(count, step_));
  // Highest first from the stack's end: runs of consecutive blocks are backed in one go.
  const auto first = unbacked_.end() - static_cast<std::ptrdiff_t>(taken);
  const std::span<const BlockId> blocks(first, unbacked_.end());
  try {
    for_each_run(blocks, [&](std::size_t begin, std::size_t end) { memory_->commit(begin, end); });
  } catch (...) {  // all of them or none
    for_each_run(blocks,
                 [&](std::size_t begin, std::size_t end) { memory_->decommit(begin, end); });
    throw;
  }
  free_.insert(free_.end(), first, unbacked_.end());
  unbacked_.erase(first, unbacked_.end());
  peak_blocks_ = std::max(peak_blocks_, shape_.max_blocks - unbacked_.size());
  ++allocations_;
}

void BlockPool::trim() noexcept {
  const std::scoped_lock lock(mutex_);
  std::ranges::sort(free_, std::greater<>());
  for_each_run(free_, [&](std::size_t begin, std::size_t end) { memory_->decommit(begin, end); });
  unbacked_.insert(unbacked_.end(), free_.begin(), free_.end());  // has room: it held them once
  free_.clear();
  std::ranges::sort(unbacked_, std::greater<>());
}

void BlockPool::add_reference(BlockId id) noexcept {
  references_[static_cast<std::size_t>(id)].fetch_add(1, std::memory_order_relaxed);
}

void BlockPool::drop_reference(BlockId id) noexcept {
  // Acquire and release: who frees or overwrites the block sees all that earlier holders did.
  if (references_[static_cast<std::size_t>(id)].fetch_sub(1, std::memory_order_acq_rel) > 1) {
    return;
  }
  if (poison_) {
    fill_with_nan(id);
  }
  const std::scoped_lock lock(mutex_);
  free_.push_back(id);
}

bool BlockPool::has_one_reference(BlockId id) const noexcept {
  return references_[static_cast<std::size_t>(id)].load(std::memory_order_acquire) == 1;
}

void BlockPool::fill_with_nan(BlockId id) noexcept {
  const std::size_t bytes = shape_.layer_block_bytes();
  memory_->fill_with_nan(static_cast<std::size_t>(id) * bytes, {.bytes = bytes,
                                                                .stride = bytes,
                                                                .count = 1,
                                                                .pool_stride = pool_stride_,
                                                                .pools = shape_.num_pools()});
}

void BlockPool::copy_tokens(const Block& from, std::size_t from_offset, const Block& to,
                            std::size_t to_offset, std::size_t count) noexcept {
  const auto offset_of = [&](const Block& block, std::size_t token) {
    return static_cast<std::size_t>(block.id()) * shape_.layer_block_bytes() +
           token * shape_.vector_bytes();
  };
  memory_->copy(offset_of(to, to_offset), offset_of(from, from_offset),
                {.bytes = count * shape_.vector_bytes(),
                 .stride = shape_.head_bytes(),
                 .count = shape_.num_heads,
                 .pool_stride = pool_stride_,
                 .pools = shape_.num_pools()});
  bytes_copied_.fetch_add(count * shape_.token_bytes(), std::memory_order_relaxed);
}

void BlockPool::read_block(std::size_t pool, const Block& block, std::byte* to) {
  memory_->read(offset(pool, block), to, shape_.layer_block_bytes());
}

void BlockPool::write_block(std::size_t pool, const Block& block, const std::byte* from) {
  memory_->write(offset(pool, block), from, shape_.layer_block_bytes());
}

std::size_t BlockPool::offset(std::size_t pool, const Block& block) const noexcept {
  return pool * pool_stride_ + static_cast<std::size_t>(block.id()) * shape_.layer_block_bytes();
}

std::size_t BlockPool::blocks_in_use() const noexcept {
  return shape_.max_blocks - unbacked_.size() - free_.size();
}

CacheStats BlockPool::stats() const {
  const std::scoped_lock lock(mutex_);
  CacheStats stats;
  stats.block_len = shape_.block_len;
  stats.block_bytes = shape_.block_bytes();
  stats.blocks_in_use = blocks_in_use();
  stats.blocks_shared = static_cast<std::size_t>(
      std::count_if(references_.get(), references_.get() + shape_.max_blocks,
                    [](const auto& references) { return references.load() > 1; }));
  stats.blocks_free = free_.size();
  stats.blocks_limit = shape_.max_blocks;
  stats.bytes_allocated = (shape_.max_blocks - unbacked_.size()) * shape_.block_bytes();
  stats.bytes_peak = peak_blocks_ * shape_.block_bytes();
  stats.allocations = allocations_;
  stats.bytes_copied = bytes_copied_;
  return stats;
}

void BlockPool::check_invariants() const {
  const std::scoped_lock lock(mutex_);
  std::vector<int> seen(shape_.max_blocks, 0);
  for (const auto* list : {&free_, &unbacked_}) {
    for (const BlockId id : *list) {
      ++seen[static_cast<std::size_t>(id)];
    }
  }
  for (std::size_t id = 0; id < shape_.max_blocks; ++id) {
    const std::uint32_t references = references_[id].load();
    if (seen[id] + (references > 0 ? 1 : 0) != 1) {
      throw std::logic_error(
          fmt::format("block {} has {} references and is listed {} times as free "
                      "or without memory",
                      id, references, seen[id]));
    }
  }
}

}  // namespace kvcache::cache
