// Cuts one run of the attention node into tasks and hands each to the kernel that suits it.
#include "kernels/cpu/cached_attention_cpu.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "base/float16.hpp"
#include "base/rounding.hpp"
#include "base/thread_scratch.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/cached_attention_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/attend_queries-inl.hpp"
#include "kernels/cpu/attend_tile-inl.hpp"
#include "kernels/cpu/from_float32-inl.hpp"
#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/quantized_vectors-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

// Below this many queries the lanes of a tile would stand empty, and a few at a time are faster.
constexpr std::int64_t kFewQueries = 8;

/// One head of one row: everything a task needs to know to find its tensors.
template <typename T, typename Cache>
struct HeadOfRow {
  const CachedAttentionArgs<T, Cache>& args;
  std::int64_t row;
  std::int64_t head;

  [[nodiscard]] std::int64_t past_length() const { return args.past_lengths[row]; }
  /// Where the row's new token `token` is written and read.
  [[nodiscard]] std::int64_t position(std::int64_t token) const {
    return args.append_position(row) + token;
  }
  [[nodiscard]] KvView<Cache> view(const Cache* pool) const {
    return {pool,          args.block_table + row * args.blocks_per_row,
            head,          args.num_heads,
            args.head_dim, args.block_len};
  }
  /// part: 0 query, 1 key, 2 value of new token `token` of the row, [head_dim].
  [[nodiscard]] const T* qkv(std::int64_t part, std::int64_t token) const {
    const std::int64_t flat = args.row_begin(row) + token;
    return args.qkv + ((flat * 3 + part) * args.num_heads + head) * args.head_dim;
  }
  [[nodiscard]] T* attention(std::int64_t token) const {
    const std::int64_t flat = args.row_begin(row) + token;
    return args.attention + (flat * args.num_heads + head) * args.head_dim;
  }
  [[nodiscard]] const std::int32_t* tree_parents() const {
    return args.tree_parents == nullptr ? nullptr : args.tree_parents + args.row_begin(row);
  }
};

template <typename T, typename Cache>
void append(const HeadOfRow<T, Cache>& of) {
  const KvView<Cache> keys = of.view(of.args.key_pool);
  const KvView<Cache> values = of.view(of.args.value_pool);
  const auto store = [&](const T* from, const Cache* at) {
    auto* const to = const_cast<Cache*>(at);
    if constexpr (std::is_same_v<T, Cache>) {
      std::copy_n(from, of.args.head_dim, to);
    } else if constexpr (std::is_same_v<Cache, std::int8_t>) {
      quantize_vector(from, of.args.head_dim, to);
    } else {
      from_float32(from, of.args.head_dim, to);
    }
  };
  for (std::int64_t token = 0; token < of.args.row_size(of.row); ++token) {
    store(of.qkv(1, token), keys.at(of.position(token)));
    store(of.qkv(2, token), values.at(of.position(token)));
  }
}

template <typename T, typename Cache>
void load_scaled_query(const HeadOfRow<T, Cache>& of, std::int64_t token, float* query) {
  to_float32(of.qkv(0, token), of.args.head_dim, query);
  std::transform(query, query + of.args.head_dim, query,
                 [&](float value) { return value * of.args.scale; });
}

/// What `count` queries from new token `first` on see: of a chain that goes on where the past ends,
/// they share all up to the first of them, else the past.
template <typename T, typename Cache>
VisibleTokens visible_tokens(const HeadOfRow<T, Cache>& of, std::int64_t first,
                             std::int64_t count) {
  const bool goes_on = of.tree_parents() == nullptr && of.position(0) == of.past_length();
  const std::int64_t begin = goes_on ? first + 1 : 0;
  return {of.past_length() + begin, {of.position(begin), of.position(first + count)}, begin};
}

/// The positions of new tokens that token `token` sees behind the shared ones, in order: those of a
/// chain, or the ancestors in a tree one by one, and itself.
template <typename T, typename Cache>
void collect_seen(const HeadOfRow<T, Cache>& of, std::int64_t token, const VisibleTokens& visible,
                  std::vector<PositionRange>& seen) {
  seen.clear();
  const std::int32_t* parents = of.tree_parents();
  if (parents == nullptr) {
    if (token >= visible.first_added) {
      seen.push_back({visible.added.begin, of.position(token) + 1});
    }
    return;
  }
  for (std::int64_t node = token; node >= 0; node = parents[node]) {
    seen.push_back({of.position(node), of.position(node) + 1});
  }
  std::reverse(seen.begin(), seen.end());
}

template <int kQueries, typename T, typename Cache>
void attend_some(const HeadOfRow<T, Cache>& of, std::int64_t first) {
  const std::int64_t head_dim = of.args.head_dim;
  const std::int64_t vectors = round_up(head_dim, kLanes);
  const VisibleTokens visible = visible_tokens(of, first, kQueries);
  const std::int64_t added = visible.added.end - visible.added.begin;
  QueryScratch scratch{};
  scratch.score_stride = visible.shared + added + kLanes;
  scratch.fresh_stride = added + kLanes;
  float* memory = thread_scratch(kQueries * (3 * vectors + pattern_floats(head_dim) +
                                             scratch.score_stride + scratch.fresh_stride));
  const auto take = [&memory](std::int64_t floats) {
    float* const taken = memory;
    memory += kQueries * floats;
    return taken;
  };
  scratch.even = take(vectors);
  scratch.odd = take(vectors);
  float* const queries = take(vectors);
  scratch.patterns = take(pattern_floats(head_dim));
  scratch.scores = take(scratch.score_stride);
  scratch.fresh = take(scratch.fresh_stride);
  thread_local std::vector<PositionRange> seen[kQueries];
  for (int q = 0; q < kQueries; ++q) {
    load_scaled_query(of, first + q, queries + q * vectors);
    collect_seen(of, first + q, visible, seen[q]);
  }
  attend_queries<kQueries>(
      queries, vectors, of.view(of.args.key_pool), of.view(of.args.value_pool), visible,
      [&](int q) -> const std::vector<PositionRange>& { return seen[q]; }, scratch);
  for (int q = 0; q < kQueries; ++q) {
    from_float32(scratch.even + q * vectors, head_dim, of.attention(first + q));
  }
}

template <typename T, typename Cache>
void attend_a_few(const HeadOfRow<T, Cache>& of, std::int64_t first, std::int64_t count) {
  const std::int64_t end = first + count;
  for (; first + 4 <= end; first += 4) {
    attend_some<4>(of, first);
  }
  if (first + 2 <= end) {
    attend_some<2>(of, first);
    first += 2;
  }
  if (first < end) {
    attend_some<1>(of, first);
  }
}

template <typename T, typename Cache>
void attend_as_tile(const HeadOfRow<T, Cache>& of, std::int64_t first, std::int64_t count) {
  const std::int64_t head_dim = of.args.head_dim;
  const NewTokens tokens{of.position(0), of.past_length(), first, count, of.tree_parents()};
  TileScratch tile{};
  tile.columns = round_up(count, kLanes);
  const std::int64_t matrix = head_dim * tile.columns;
  const std::int64_t scores = (of.past_length() + tokens.visible()) * tile.columns;
  float* memory =
      thread_scratch(3 * matrix + scores + kLanes * tile.columns + kTileKeys * head_dim + head_dim);
  const auto take = [&memory](std::int64_t floats) {
    float* taken = memory;
    memory += floats;
    return taken;
  };
  tile.scores = take(scores);
  tile.slots = take(kLanes * tile.columns);
  tile.queries = take(matrix);
  tile.even = take(matrix);
  tile.odd = take(matrix);
  tile.converted = take(kTileKeys * head_dim);
  float* column = take(head_dim);

  std::fill_n(tile.queries, matrix, 0.0F);
  for (std::int64_t q = 0; q < count; ++q) {
    load_scaled_query(of, first + q, column);
    for (std::int64_t i = 0; i < head_dim; ++i) {
      tile.queries[i * tile.columns + q] = column[i];
    }
  }
  attend_tile(of.view(of.args.key_pool), of.view(of.args.value_pool), tokens, tile);
  for (std::int64_t q = 0; q < count; ++q) {
    for (std::int64_t i = 0; i < head_dim; ++i) {
      column[i] = tile.even[i * tile.columns + q];
    }
    from_float32(column, head_dim, of.attention(first + q));
  }
}

template <typename T, typename Cache>
void cached_attention(const CachedAttentionArgs<T, Cache>& args, const ParallelFor& parallel_for) {
  std::int64_t most_tokens = 0;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    most_tokens = std::max(most_tokens, args.row_size(row));
  }
  const auto append_task = [&](std::int64_t i) {
    append(HeadOfRow<T, Cache>{args, i / args.num_heads, i % args.num_heads});
  };
  const std::int64_t heads = args.rows * args.num_heads;
  // Late tiles of a causal row see more keys: starting with them keeps the threads' ends together.
  const std::int64_t tiles = divide_up(most_tokens, kTileQueries);
  if (tiles > 1) {  // of one head, and each reads what the others append
    parallel_for(heads, append_task);
  }
  parallel_for(tiles * heads, [&](std::int64_t i) {
    if (tiles == 1) {
      append_task(i);
    }
    const std::int64_t tile = tiles - 1 - i / heads;
    const HeadOfRow<T, Cache> of{args, i % heads / args.num_heads, i % args.num_heads};
    const std::int64_t first = tile * kTileQueries;
    const std::int64_t count = std::min(kTileQueries, args.row_size(of.row) - first);
    if (count <= 0) {
      return;
    }
    if (count < kFewQueries) {
      attend_a_few(of, first, count);
    } else {
      attend_as_tile(of, first, count);
    }
  });
}

void cached_attention_f32(const CachedAttentionArgs<float>& args, const ParallelFor& parallel) {
  cached_attention(args, parallel);
}
void cached_attention_f32_f16(const CachedAttentionArgs<float, Float16>& args,
                              const ParallelFor& parallel) {
  cached_attention(args, parallel);
}
void cached_attention_f32_bf16(const CachedAttentionArgs<float, BFloat16>& args,
                               const ParallelFor& parallel) {
  cached_attention(args, parallel);
}
void cached_attention_f32_i8(const CachedAttentionArgs<float, std::int8_t>& args,
                             const ParallelFor& parallel) {
  cached_attention(args, parallel);
}
void cached_attention_f16(const CachedAttentionArgs<Float16>& args, const ParallelFor& parallel) {
  cached_attention(args, parallel);
}
void cached_attention_bf16(const CachedAttentionArgs<BFloat16>& args, const ParallelFor& parallel) {
  cached_attention(args, parallel);
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(cached_attention_f32);
HWY_EXPORT(cached_attention_f32_f16);
HWY_EXPORT(cached_attention_f32_bf16);
HWY_EXPORT(cached_attention_f32_i8);
HWY_EXPORT(cached_attention_f16);
HWY_EXPORT(cached_attention_bf16);

template <>
void cached_attention_cpu(const CachedAttentionArgs<float>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(cached_attention_f32)(args, parallel);
}
template <>
void cached_attention_cpu(const CachedAttentionArgs<float, Float16>& args,
                          const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(cached_attention_f32_f16)(args, parallel);
}
template <>
void cached_attention_cpu(const CachedAttentionArgs<float, BFloat16>& args,
                          const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(cached_attention_f32_bf16)(args, parallel);
}
template <>
void cached_attention_cpu(const CachedAttentionArgs<float, std::int8_t>& args,
                          const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(cached_attention_f32_i8)(args, parallel);
}
template <>
void cached_attention_cpu(const CachedAttentionArgs<Float16>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(cached_attention_f16)(args, parallel);
}
template <>
void cached_attention_cpu(const CachedAttentionArgs<BFloat16>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(cached_attention_bf16)(args, parallel);
}

}  // namespace kvcache::kernels
#endif
