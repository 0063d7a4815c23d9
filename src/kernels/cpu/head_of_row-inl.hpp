// What a task of the attention works on: the queries of one row that read one head of keys.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_HEAD_OF_ROW_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_HEAD_OF_ROW_INL_HPP_
#undef KVCACHE_KERNELS_HEAD_OF_ROW_INL_HPP_
#else
#define KVCACHE_KERNELS_HEAD_OF_ROW_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/thread_scratch.hpp"
#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/from_float32-inl.hpp"
#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/quantized_vectors-inl.hpp"
#include "kernels/cpu/rms_norm-inl.hpp"
#include "kernels/cpu/rotary-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

/// One head of keys and values of one row: everything a task needs to know to find its tensors.
/// Its queries are those of the row's first new token, one for each head that shares the keys, then
/// those of the second, …: keys and values are read once for all of them.
template <typename T, typename Cache>
struct HeadOfRow {
  const CachedAttentionArgs<T, Cache>& args;
  std::int64_t row;
  std::int64_t head;  // of keys and values
  // Queries that share it. Kept, and passed by where it is 1: a division takes as long as the score
  // of a small head.
  std::int64_t group = args.group();

  [[nodiscard]] std::int64_t past_length() const { return args.past_lengths[row]; }
  [[nodiscard]] std::int64_t queries() const { return args.row_size(row) * group; }
  /// The new token that a query is of.
  [[nodiscard]] std::int64_t token_of(std::int64_t query) const {
    return group == 1 ? query : query / group;
  }
  /// Where the row's new token `token` is written and read.
  [[nodiscard]] std::int64_t position(std::int64_t token) const {
    return args.append_position(row) + token;
  }
  [[nodiscard]] KvView<Cache> view(const Cache* pool) const {
    return {pool,          args.block_table + row * args.blocks_per_row,
            head,          args.num_kv_heads,
            args.head_dim, args.block_len};
  }
  [[nodiscard]] const T* query(std::int64_t query) const {
    return of_token(token_of(query), query_head(query));
  }
  [[nodiscard]] const T* key(std::int64_t token) const {
    return of_token(token, args.num_heads + head);
  }
  [[nodiscard]] const T* value(std::int64_t token) const {
    return of_token(token, args.num_heads + args.num_kv_heads + head);
  }
  [[nodiscard]] T* attention(std::int64_t query) const {
    const std::int64_t flat = args.row_begin(row) + token_of(query);
    return args.attention + (flat * args.num_heads + query_head(query)) * args.head_dim;
  }
  [[nodiscard]] const std::int32_t* tree_parents() const {
    return args.tree_parents == nullptr ? nullptr : args.tree_parents + args.row_begin(row);
  }
  /// The first position of its text that a token at `position` of it sees.
  [[nodiscard]] std::int64_t first_seen(std::int64_t position) const {
    const std::int64_t window = args.rules.window;
    return window == 0 ? 0 : std::max<std::int64_t>(position + 1 - window, 0);
  }

 private:
  [[nodiscard]] std::int64_t query_head(std::int64_t query) const {
    return group == 1 ? head : head * group + query % group;
  }
  [[nodiscard]] const T* of_token(std::int64_t token, std::int64_t vector) const {
    const std::int64_t flat = args.row_begin(row) + token;
    return args.qkv + (flat * (args.num_heads + 2 * args.num_kv_heads) + vector) * args.head_dim;
  }
};

/// Norms a query or key of a new token and turns it, where the layer does so.
template <typename T, typename Cache>
void norm_and_turn(const HeadOfRow<T, Cache>& of, std::int64_t token, const float* norm_weight,
                   float* vector) {
  const AttentionRules& rules = of.args.rules;
  if (norm_weight != nullptr) {
    rms_norm(vector, norm_weight, of.args.head_dim, rules.norm.epsilon, vector);
  }
  if (rules.rotary.cos != nullptr) {
    rotate(rules.rotary, of.args.position_ids[of.args.row_begin(of.row) + token], vector);
  }
}

template <typename T, typename Cache>
void load_scaled_query(const HeadOfRow<T, Cache>& of, std::int64_t number, float* query) {
  to_float32(of.query(number), of.args.head_dim, query);
  norm_and_turn(of, of.token_of(number), of.args.rules.norm.query_weight, query);
  std::transform(query, query + of.args.head_dim, query,
                 [&](float value) { return value * of.args.scale; });
}

/// A vector as the cache keeps it.
template <typename T, typename Cache>
void store_vector(const T* from, std::int64_t size, const Cache* at) {
  auto* const to = const_cast<Cache*>(at);
  if constexpr (std::is_same_v<T, Cache>) {
    std::copy_n(from, size, to);
  } else if constexpr (std::is_same_v<Cache, std::int8_t>) {
    quantize_vector(from, size, to);
  } else {
    from_float32(from, size, to);
  }
}

/// Writes the new keys and values into the cache.
template <typename T, typename Cache>
void append(const HeadOfRow<T, Cache>& of) {
  const KvView<Cache> keys = of.view(of.args.key_pool);
  const KvView<Cache> values = of.view(of.args.value_pool);
  const std::int64_t size = of.args.head_dim;
  const AttentionRules& rules = of.args.rules;
  const bool as_they_are = rules.norm.key_weight == nullptr && rules.rotary.cos == nullptr;
  for (std::int64_t token = 0; token < of.args.row_size(of.row); ++token) {
    if (as_they_are) {
      store_vector(of.key(token), size, keys.at(of.position(token)));
    } else {
      float* const key = thread_scratch(size);
      to_float32(of.key(token), size, key);
      norm_and_turn(of, token, rules.norm.key_weight, key);
      store_vector(key, size, keys.at(of.position(token)));
    }
    store_vector(of.value(token), size, values.at(of.position(token)));
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
