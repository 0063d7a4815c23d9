#include "cache/block.hpp"

#include <utility>

#include "cache/block_pool.hpp"

namespace kvcache::cache {

Block::Block(Block&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      id_(other.id_),
      groups_(std::exchange(other.groups_, 0)) {}

Block& Block::operator=(Block&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(id_, other.id_);
  std::swap(groups_, other.groups_);
  return *this;
}

Block::~Block() { give_back(); }

void Block::give_back(std::size_t first_group) noexcept {
  if (held(first_group)) {
    pool_->drop_references(id_, first_group, std::exchange(groups_, first_group));
    pool_ = first_group == 0 ? nullptr : pool_;
  }
}

Block Block::share() const noexcept {
  for (std::size_t group = 0; group < groups_; ++group) {
    pool_->add_reference(id_, group);
  }
  return {pool_, id_, groups_};
}

bool Block::exclusive() const noexcept { return pool_->has_one_reference(id_, 0); }

std::size_t Block::exclusive_bytes() const noexcept {
  std::size_t bytes = 0;
  for (std::size_t group = 0; group < groups_; ++group) {
    bytes += pool_->has_one_reference(id_, group) ? pool_->block_bytes(group) : 0;
  }
  return bytes;
}

BlockId Block::place(std::size_t group) const noexcept {
  if (group == 0) {
    return id_;
  }
  return pool_ == nullptr ? 0 : pool_->place(id_, group);
}

}  // namespace kvcache::cache
