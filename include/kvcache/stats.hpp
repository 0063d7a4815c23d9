// What the cache takes and what it copied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvcache {

/// The state of a model's cache, all sequences together. Bytes count keys and values of all layers.
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

  [[nodiscard]] std::size_t bytes_in_use() const noexcept { return blocks_in_use * block_bytes; }
  [[nodiscard]] std::size_t bytes_shared() const noexcept { return blocks_shared * block_bytes; }
  [[nodiscard]] std::size_t bytes_free() const noexcept { return blocks_free * block_bytes; }

  // Counted by the attention nodes themselves.
  std::uint64_t in_place_runs = 0;  // node runs that wrote new tokens into the cache
  std::uint64_t growing_runs = 0;   // node runs without the cache (forward_without_cache)
  std::uint64_t bytes_copied = 0;   // of cached tokens, from anywhere to anywhere
};

}  // namespace kvcache
