// Cuts one run of the attention node into tasks and hands each to the kernel that suits it.
#include "kernels/cpu/cached_attention_cpu.hpp"

#include <algorithm>

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
#include "kernels/cpu/head_of_row-inl.hpp"
#include "kernels/cpu/kv_view-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

// Below this many queries the lanes of a tile would stand empty, and a few at a time are faster.
constexpr std::int64_t kFewQueries = 8;

/// What queries [first, end) see: of a chain that goes on where the past ends, they share all up to
/// the first of them, else the past.
template <typename T, typename Cache>
VisibleTokens visible_tokens(const HeadOfRow<T, Cache>& of, std::int64_t first, std::int64_t end) {
  const bool goes_on = of.tree_parents() == nullptr && of.position(0) == of.past_length();
  const std::int64_t begin = goes_on ? of.token_of(first) + 1 : 0;
  const std::int64_t added_end = of.token_of(end - 1) + 1;
  return {0, of.past_length() + begin, {of.position(begin), of.position(added_end)}, begin};
}

/// Of a chain the new tokens up to the query's own, in a tree its token's ancestors one by one, and
/// itself.
template <typename T, typename Cache>
void collect_seen(const HeadOfRow<T, Cache>& of, std::int64_t query, const VisibleTokens& visible,
                  SeenTokens& seen) {
  seen.ranges.clear();
  const std::int64_t token = of.token_of(query);
  const std::int32_t* parents = of.tree_parents();
  if (parents == nullptr) {
    if (token >= visible.first_added) {
      seen.ranges.push_back({visible.added.begin, of.position(token) + 1});
    }
    seen.begin = of.first_seen(of.past_length() + token);
    return;
  }
  for (std::int64_t node = token; node >= 0; node = parents[node]) {
    seen.ranges.push_back({of.position(node), of.position(node) + 1});
  }
  std::reverse(seen.ranges.begin(), seen.ranges.end());
  const auto depth = static_cast<std::int64_t>(seen.ranges.size());
  seen.begin = of.first_seen(of.past_length() + depth - 1);
}

template <int kQueries, typename T, typename Cache>
void attend_some(const HeadOfRow<T, Cache>& of, std::int64_t first) {
  const std::int64_t head_dim = of.args.head_dim;
  const std::int64_t vectors = round_up(head_dim, kLanes);
  VisibleTokens visible = visible_tokens(of, first, first + kQueries);
  thread_local SeenTokens seen[kQueries];
  std::int64_t begin = visible.shared;
  for (int q = 0; q < kQueries; ++q) {
    collect_seen(of, first + q, visible, seen[q]);
    begin = std::min(begin, seen[q].begin);
  }
  visible.begin = begin;
  const std::int64_t added = visible.added.end - visible.added.begin;
  QueryScratch scratch{};
  scratch.score_stride = visible.shared - visible.first_slot() + added + kLanes;
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
  for (int q = 0; q < kQueries; ++q) {
    load_scaled_query(of, first + q, queries + q * vectors);
  }
  attend_queries(queries, vectors, of.view(of.args.key_pool), of.view(of.args.value_pool), visible,
                 seen, of.args.rules.soft_cap, scratch);
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
  switch (end - first) {
    case 3:
      return attend_some<3>(of, first);
    case 2:
      return attend_some<2>(of, first);
    case 1:
      return attend_some<1>(of, first);
    default:
      return;
  }
}

template <typename T, typename Cache>
void attend_as_tile(const HeadOfRow<T, Cache>& of, std::int64_t first, std::int64_t count) {
  const std::int64_t head_dim = of.args.head_dim;
  NewTokens tokens{.begin = of.position(0),
                   .past_length = of.past_length(),
                   .first_query = first,
                   .num_queries = count,
                   .group = of.group,
                   .window = of.args.rules.window,
                   .tree_parents = of.tree_parents()};
  tokens.leave_out_unseen();
  TileScratch tile{};
  tile.columns = round_up(count, kLanes);
  const std::int64_t matrix = head_dim * tile.columns;
  const std::int64_t scores = tokens.positions() * tile.columns;
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
  attend_tile(of.view(of.args.key_pool), of.view(of.args.value_pool), tokens,
              of.args.rules.soft_cap, tile);
  for (std::int64_t q = 0; q < count; ++q) {
    for (std::int64_t i = 0; i < head_dim; ++i) {
      column[i] = tile.even[i * tile.columns + q];
    }
    from_float32(column, head_dim, of.attention(first + q));
  }
}

template <typename T, typename Cache>
void cached_attention(const CachedAttentionArgs<T, Cache>& args, const ParallelFor& parallel_for) {
  std::int64_t most_queries = 0;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    most_queries = std::max(most_queries, args.row_size(row) * args.group());
  }
  const std::int64_t heads = args.rows * args.num_kv_heads;
  const auto head_of_row = [&](std::int64_t i) {
    return HeadOfRow<T, Cache>{args, i % heads / args.num_kv_heads, i % args.num_kv_heads};
  };
  // Late tiles of a causal row see more keys: starting with them keeps the threads' ends together.
  const std::int64_t tiles = divide_up(most_queries, kTileQueries);
  if (tiles > 1) {  // of one head, and each reads what the others append
    parallel_for(heads, [&](std::int64_t i) { append(head_of_row(i)); });
  }
  parallel_for(tiles * heads, [&](std::int64_t i) {
    const HeadOfRow<T, Cache> of = head_of_row(i);
    if (tiles == 1) {
      append(of);
    }
    const std::int64_t tile = tiles - 1 - i / heads;
    const std::int64_t first = tile * kTileQueries;
    const std::int64_t count = std::min(kTileQueries, of.queries() - first);
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
