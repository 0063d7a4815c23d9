// Sizes of a cache.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvcache::cache {

using BlockId = std::int32_t;  // as block tables hold it

/// A block holds `block_len` tokens in every layer.
struct PoolShape {
  std::size_t num_layers;
  std::size_t num_heads;
  std::size_t head_dim;
  std::size_t block_len;
  std::size_t element_bytes;
  std::size_t max_blocks;       // that the byte budget permits
  std::size_t scale_bytes = 0;  // behind each vector of integers, a multiple of element_bytes

  /// Of one token of one head in one pool: [head_dim], and the vector's scale.
  [[nodiscard]] std::size_t vector_bytes() const noexcept {
    return head_dim * element_bytes + scale_bytes;
  }
  /// The last axis of a pool as a tensor.
  [[nodiscard]] std::size_t vector_elements() const noexcept {
    return vector_bytes() / element_bytes;
  }
  /// Of one block of one head in one pool: [block_len, vector_elements].
  [[nodiscard]] std::size_t head_bytes() const noexcept { return block_len * vector_bytes(); }
  /// Of one block in one pool: [num_heads, block_len, vector_elements].
  [[nodiscard]] std::size_t layer_block_bytes() const noexcept { return num_heads * head_bytes(); }
  [[nodiscard]] std::size_t num_pools() const noexcept { return 2 * num_layers; }
  /// Of one token in all pools.
  [[nodiscard]] std::size_t token_bytes() const noexcept {
    return num_pools() * num_heads * vector_bytes();
  }
  /// Of one block in all pools.
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_len * token_bytes(); }
};

}  // namespace kvcache::cache
