// What one run of the attention node works on, for every device.
#pragma once

#include <cstdint>
#include <type_traits>

namespace kvcache::kernels {

/// Elements behind a key/value vector that are its scale: one of int8 ends with a bfloat16.
template <typename Cache>
inline constexpr std::int64_t kScaleElements = std::is_same_v<Cache, std::int8_t> ? 2 : 0;

/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of a head's first `dims` elements,
/// float32 whatever T is. Keys are kept turned.
struct Rotary {
  const float* cos = nullptr;  // [positions, dims / 2], null: nothing is turned
  const float* sin = nullptr;  // the same
  std::int64_t positions = 0;
  std::int64_t dims = 0;
  bool interleaved = false;  // a pair are neighbours; else an element and that half of dims further
};

/// RMSNorm of each head's query and key, before they are turned.
struct QueryKeyNorm {
  const float* query_weight = nullptr;  // [head_dim], null: nothing is normed
  const float* key_weight = nullptr;    // [head_dim]
  float epsilon = 0;
};

/// What a layer does with queries, keys and scores beyond scaling and masking them, the same in
/// every run: nothing, as in GPT-2, where all of it is left as it is. Kernels of the CPU only.
struct AttentionRules {
  Rotary rotary;
  QueryKeyNorm norm;
  std::int64_t window = 0;  // tokens that a token sees, itself included; 0: all before it
  float soft_cap = 0;       // of scores: cap · tanh(score / cap), before the mask; 0: none
};

/// The tensors and shapes of one run of `CachedAttention` over the cache pool of one layer, whose
/// elements may be narrower than those that are computed with. All pointers lie in the memory of
/// the device that runs the kernel. See docs/MODEL_FILE.md for the meaning of each tensor.
template <typename T, typename Cache = T>
struct CachedAttentionArgs {
  const T* qkv = nullptr;                      // [tokens, num_heads + 2 · num_kv_heads, head_dim]
  Cache* key_pool = nullptr;                   // [blocks, num_kv_heads, block_len, vector_elements]
  Cache* value_pool = nullptr;                 // the same
  const std::int32_t* block_table = nullptr;   // [rows, blocks_per_row]
  const std::int32_t* past_lengths = nullptr;  // [rows]
  const std::int32_t* append_positions = nullptr;  // [rows], or null: past_lengths
  const std::int32_t* row_offsets = nullptr;       // [rows + 1], or null: tokens_per_row each
  const std::int32_t* tree_parents = nullptr;      // [tokens], or null: every row is a chain
  const std::int64_t* position_ids = nullptr;      // [tokens], in [0, rotary.positions): with it
  T* attention = nullptr;                          // [tokens, num_heads, head_dim]

  std::int64_t rows = 0;
  std::int64_t tokens_per_row = 0;  // used when row_offsets is null
  std::int64_t blocks_per_row = 0;
  std::int64_t num_heads = 0;     // of queries
  std::int64_t num_kv_heads = 0;  // of keys and values: a divisor of num_heads
  std::int64_t head_dim = 0;
  std::int64_t block_len = 0;
  float scale = 1.0F;
  AttentionRules rules;

  /// Queries that read one key.
  [[nodiscard]] std::int64_t group() const { return num_heads / num_kv_heads; }
  /// From one key or value of the pool to the next: its elements, and its scale.
  [[nodiscard]] constexpr std::int64_t vector_elements() const {
    return head_dim + kScaleElements<Cache>;
  }
  /// Position of the row's first new token.
  [[nodiscard]] std::int64_t append_position(std::int64_t row) const {
    return append_positions != nullptr ? append_positions[row] : past_lengths[row];
  }
  [[nodiscard]] std::int64_t row_begin(std::int64_t row) const {
    return row_offsets != nullptr ? row_offsets[row] : row * tokens_per_row;
  }
  [[nodiscard]] std::int64_t row_size(std::int64_t row) const {
    return row_begin(row + 1) - row_begin(row);
  }
};

}  // namespace kvcache::kernels
