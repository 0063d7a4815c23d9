#include "cache/block_pool.hpp"

#include <algorithm>
#include <utility>

#include "throw_error.hpp"

namespace kvcache::cache {
namespace {

// Pools start on pages of their own, so that each can be backed on its own; huge pages where the
// system has them.
constexpr std::size_t kPoolAlignment = std::size_t{2} << 20;

std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

Block::Block(Block&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}

Block& Block::operator=(Block&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(id_, other.id_);
  return *this;
}

Block::~Block() {
  if (pool_ != nullptr) {
    pool_->release(id_);
  }
}

BlockPool::BlockPool(const PoolShape& shape, std::size_t step)
    : shape_(shape),
      step_(step),
      pool_stride_(round_up(shape.max_blocks * shape.layer_block_bytes(), kPoolAlignment)),
      memory_(pool_stride_ * shape.num_pools() + kPoolAlignment) {
  free_.reserve(shape.max_blocks);  // release() must not allocate
}

std::vector<Block> BlockPool::allocate(std::size_t count) {
  std::vector<Block> blocks;
  blocks.reserve(count);
  const std::scoped_lock lock(mutex_);
  if (free_.size() < count) {
    grow_to(committed_blocks_ + count - free_.size());
  }
  for (std::size_t i = 0; i < count; ++i) {
    blocks.emplace_back(*this, free_.back());
    free_.pop_back();
  }
  return blocks;
}

void BlockPool::reserve(std::size_t count) {
  const std::scoped_lock lock(mutex_);
  if (count > committed_blocks_) {
    grow_to(count);
  }
}

void BlockPool::release(BlockId id) noexcept {
  const std::scoped_lock lock(mutex_);
  free_.push_back(id);
}

void BlockPool::grow_to(std::size_t blocks) {
  if (blocks > shape_.max_blocks) {
    const std::size_t used = committed_blocks_ - free_.size();
    throw_error(ErrorCode::cache_full,
                "the cache's budget of {} blocks ({} bytes) is used up: {} in use, {} free, {} "
                "more needed; drop or reset sequences, or load the model with more cache_bytes",
                shape_.max_blocks, shape_.max_blocks * shape_.block_bytes(), used,
                shape_.max_blocks - used, blocks - used);
  }
  const std::size_t target = std::min(shape_.max_blocks, round_up(blocks, step_));
  const std::size_t bytes = shape_.layer_block_bytes();
  for (std::size_t pool = 0; pool < shape_.num_pools(); ++pool) {
    const std::size_t begin = pool * pool_stride_;
    memory_.commit(begin + committed_blocks_ * bytes, begin + target * bytes);
  }
  // Lowest block on top of the stack.
  for (std::size_t id = target; id-- > committed_blocks_;) {
    free_.push_back(static_cast<BlockId>(id));
  }
  committed_blocks_ = target;
  ++allocations_;
}

CacheStats BlockPool::stats() const {
  const std::scoped_lock lock(mutex_);
  CacheStats stats;
  stats.block_len = shape_.block_len;
  stats.block_bytes = shape_.block_bytes();
  stats.blocks_in_use = committed_blocks_ - free_.size();
  stats.blocks_free = free_.size();
  stats.blocks_limit = shape_.max_blocks;
  stats.bytes_allocated = committed_blocks_ * shape_.block_bytes();
  stats.bytes_peak = stats.bytes_allocated;  // memory is not given back before the pool goes
  stats.allocations = allocations_;
  return stats;
}

}  // namespace kvcache::cache
