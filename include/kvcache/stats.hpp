// What the cache takes and what it copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvcache {

/// What the layers with one window take.
struct LayerGroupStats {
  std::size_t window = 0;         // tokens that one sees there, itself included; 0: all before it
  std::size_t layers = 0;         // so many have it
  std::size_t block_bytes = 0;    // of one block, in these layers
  std::size_t blocks_in_use = 0;  // held by sequences
  std::size_t blocks_shared = 0;  // of those, held by more than one
  std::size_t blocks_free = 0;    // allocated, held by nobody
};

/// The state of a model's cache, all sequences together. Bytes count keys and values of all layers.
/// Where layers give blocks back apart (`groups`), numbers of blocks are those of the layers that
/// see most, in which no sequence holds fewer, and bytes are the sum of what the groups take.
struct CacheStats {
  std::size_t block_len = 0;        // tokens per block
  std::size_t block_bytes = 0;      // of one block, all layers
  std::size_t blocks_in_use = 0;    // held by sequences
  std::size_t blocks_shared = 0;    // of those, held by more than one
  std::size_t blocks_free = 0;      // allocated, held by nobody
  std::size_t blocks_limit = 0;     // the most that the byte budget permits
  std::size_t bytes_allocated = 0;  // of memory taken from the system now
  std::size_t bytes_peak = 0;       // the most it ever was
  std::uint64_t allocations = 0;    // times memory was taken from the system

  /// By window, the widest first, in models whose layers have different ones and give blocks back
  /// (ModelOptions::rewindable_tokens); else empty.
  std::vector<LayerGroupStats> groups;

  [[nodiscard]] std::size_t bytes_in_use() const noexcept {
    return bytes_of(&CacheStats::blocks_in_use, &LayerGroupStats::blocks_in_use);
  }
  [[nodiscard]] std::size_t bytes_shared() const noexcept {
    return bytes_of(&CacheStats::blocks_shared, &LayerGroupStats::blocks_shared);
  }
  [[nodiscard]] std::size_t bytes_free() const noexcept {
    return bytes_of(&CacheStats::blocks_free, &LayerGroupStats::blocks_free);
  }

  // Counted by the attention nodes themselves.
  std::uint64_t in_place_runs = 0;  // node runs that wrote new tokens into the cache
  std::uint64_t growing_runs = 0;   // node runs without the cache (forward_without_cache)
  std::uint64_t bytes_copied = 0;   // of cached tokens, from anywhere to anywhere

  /// Of prefixes, by Sequence::commit(): none where the sequence is the one that the tree was
  /// evaluated on, or came from it by forks, extensions and commits.
  std::uint64_t tokens_compared = 0;

 private:
  [[nodiscard]] std::size_t bytes_of(std::size_t CacheStats::*of_all,
                                     std::size_t LayerGroupStats::*of_group) const noexcept {
    if (groups.empty()) {
      return this->*of_all * block_bytes;
    }
    std::size_t bytes = 0;
    for (const LayerGroupStats& group : groups) {
      bytes += group.*of_group * group.block_bytes;
    }
    return bytes;
  }
};

}  // namespace kvcache
