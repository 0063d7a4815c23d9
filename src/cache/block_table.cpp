#include "cache/block_table.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/rounding.hpp"

namespace kvcache::cache {

void BlockTable::reserve(std::size_t length) { blocks_.reserve(divide_up(length, block_len())); }

Growth BlockTable::plan_growth(std::size_t length, std::size_t count) const {
  const std::size_t needed = divide_up(length + count, block_len());
  const std::size_t partly_filled = length % block_len();
  const bool copy_last = count > 0 && partly_filled > 0 && !blocks_.back().exclusive();
  Growth growth;
  growth.added = pool_->allocate(needed - blocks_.size() + (copy_last ? 1 : 0));
  if (copy_last) {
    growth.writable_last = std::move(growth.added.back());
    growth.added.pop_back();
    pool_->copy_tokens(blocks_.back(), 0, *growth.writable_last, 0, partly_filled);
  }
  return growth;
}

void BlockTable::apply(Growth&& growth) {
  if (growth.writable_last) {
    blocks_.back() = std::move(*growth.writable_last);
  }
  std::ranges::move(growth.added, std::back_inserter(blocks_));
}

void BlockTable::give_back(std::size_t group, std::size_t first) noexcept {
  const std::size_t begin = first_cached_[group] / block_len();
  const std::size_t end = first / block_len();
  if (begin < end) {
    std::for_each(blocks_.begin() + static_cast<std::ptrdiff_t>(begin),
                  blocks_.begin() + static_cast<std::ptrdiff_t>(end),
                  [group](Block& block) { block.give_back(group); });
    for (; group < pool_->groups().size(); ++group) {
      first_cached_[group] = std::max(first_cached_[group], end * block_len());
    }
  }
}

void BlockTable::fill(const FirstCached& first_cached, std::size_t length) {
  const std::size_t groups = pool_->groups().size();
  std::vector<Block> blocks;
  blocks.reserve(divide_up(length, block_len()));
  for (std::size_t i = 0; i < first_cached.front() / block_len(); ++i) {
    blocks.push_back(Block::given_back(0));
  }
  for (std::size_t held = 1; held <= groups; ++held) {  // up to the next group's first
    const std::size_t end =
        held < groups ? first_cached[held] / block_len() : divide_up(length, block_len());
    std::ranges::move(pool_->allocate(end - blocks.size(), held), std::back_inserter(blocks));
  }
  blocks_.reserve(blocks.size());
  std::ranges::move(blocks, std::back_inserter(blocks_));
  first_cached_ = first_cached;
}

BlockTable BlockTable::share() const {
  BlockTable table(*pool_);
  table.blocks_.reserve(blocks_.capacity());
  std::ranges::transform(blocks_, std::back_inserter(table.blocks_),
                         [](const Block& block) { return block.share(); });
  table.first_cached_ = first_cached_;
  return table;
}

void BlockTable::shrink_to(std::size_t length) noexcept {
  const std::size_t kept = divide_up(length, block_len());
  blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(kept), blocks_.end());
  if (length == 0) {
    first_cached_ = {};
  }
}

void BlockTable::evict(std::size_t first, std::size_t count, std::size_t length) {
  const std::size_t before = offset_of(first);  // tokens that stay in the block of the first
  auto begin = blocks_.begin() + static_cast<std::ptrdiff_t>(first / block_len());
  if (before > 0) {
    if (!begin->exclusive()) {
      std::vector<Block> writable = pool_->allocate(1);
      pool_->copy_tokens(*begin, 0, writable.front(), 0, before);
      *begin = std::move(writable.front());
    }
    const std::size_t moved = std::min(block_len() - before, length - (first + count));
    pool_->copy_tokens(block_of(first + count), before, *begin, before, moved);
    ++begin;
  }
  blocks_.erase(begin, begin + static_cast<std::ptrdiff_t>(count / block_len()));
}

void BlockTable::write_ids(const Growth& growth, std::size_t group, std::span<BlockId> row) const {
  const auto id_of = [group](const Block& block) { return block.place(group); };
  auto next = std::ranges::transform(blocks_, row.begin(), id_of).out;
  if (growth.writable_last) {
    *std::prev(next) = id_of(*growth.writable_last);
  }
  next = std::ranges::transform(growth.added, next, id_of).out;
  std::fill(next, row.end(), -1);
}

}  // namespace kvcache::cache
