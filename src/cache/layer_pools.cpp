#include "cache/layer_pools.hpp"

#include <algorithm>
#include <functional>

namespace kvcache::cache {

LayerPools::LayerPools(const PoolShape& shape, const PoolPlaces& where, device::PoolMemory& memory)
    : shape_(shape), where_(where), memory_(&memory) {
  free_.reserve(where.places);  // putting back must not allocate
  unbacked_.resize(where.places);
  for (std::size_t i = 0; i < where.places; ++i) {
    unbacked_[i] = static_cast<BlockId>(where.places - 1 - i);
  }
}

BlockId LayerPools::take() noexcept {
  const BlockId place = free_.back();
  free_.pop_back();
  return place;
}

void LayerPools::put_back(BlockId place) noexcept { free_.push_back(place); }

/// Calls visit(begin, end) for the memory of consecutive ones among the places, highest first, in
/// each pool.
template <typename Visit>
void LayerPools::for_each_run(std::span<const BlockId> places, const Visit& visit) const {
  const std::size_t bytes = shape_.layer_block_bytes();
  for (auto run = places.begin(); run != places.end();) {
    auto next = run + 1;
    while (next != places.end() && *next + 1 == *(next - 1)) {
      ++next;
    }
    const auto low = static_cast<std::size_t>(*(next - 1));
    const auto high = static_cast<std::size_t>(*run) + 1;
    for (std::size_t pool = 0; pool < where_.pools(); ++pool) {
      const std::size_t begin = where_.begin + pool * where_.stride;
      visit(begin + low * bytes, begin + high * bytes);
    }
    run = next;
  }
}

void LayerPools::commit(std::size_t count) {
  // Highest first from the stack's end: runs of consecutive places are backed in one go.
  const auto first = unbacked_.end() - static_cast<std::ptrdiff_t>(count);
  const std::span<const BlockId> places(first, unbacked_.end());
  try {
    for_each_run(places, [&](std::size_t begin, std::size_t end) { memory_->commit(begin, end); });
  } catch (...) {  // all of them or none
    for_each_run(places,
                 [&](std::size_t begin, std::size_t end) { memory_->decommit(begin, end); });
    throw;
  }
  free_.insert(free_.end(), first, unbacked_.end());
  unbacked_.erase(first, unbacked_.end());
}

void LayerPools::trim(std::size_t kept) noexcept {
  if (free_.size() <= kept) {
    return;
  }
  std::ranges::sort(free_, std::greater<>());
  const auto first_kept = free_.end() - static_cast<std::ptrdiff_t>(kept);
  for_each_run({free_.begin(), first_kept},
               [&](std::size_t begin, std::size_t end) { memory_->decommit(begin, end); });
  unbacked_.insert(unbacked_.end(), free_.begin(), first_kept);  // has room: it held them once
  free_.erase(free_.begin(), first_kept);
  std::ranges::sort(unbacked_, std::greater<>());
}

void LayerPools::fill_with_nan(BlockId place) const noexcept {
  const std::size_t bytes = shape_.layer_block_bytes();
  memory_->fill_with_nan(offset(place), {.bytes = bytes,
                                         .stride = bytes,
                                         .count = 1,
                                         .pool_stride = where_.stride,
                                         .pools = where_.pools()});
}

void LayerPools::copy_tokens(BlockId from, std::size_t from_offset, BlockId to,
                             std::size_t to_offset, std::size_t count) const noexcept {
  memory_->copy(offset(to) + to_offset * shape_.vector_bytes(),
                offset(from) + from_offset * shape_.vector_bytes(),
                {.bytes = count * shape_.vector_bytes(),
                 .stride = shape_.head_bytes(),
                 .count = shape_.num_heads,
                 .pool_stride = where_.stride,
                 .pools = where_.pools()});
}

void LayerPools::count_unused(std::vector<int>& times) const {
  for (const auto* list : {&free_, &unbacked_}) {
    for (const BlockId place : *list) {
      ++times[static_cast<std::size_t>(place)];
    }
  }
}

}  // namespace kvcache::cache
