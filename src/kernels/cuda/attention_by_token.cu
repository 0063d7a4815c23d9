// A thread block per token, head and split of the past. Within a block, groups of eight lanes take
// a position each: the group's lanes share its head_dim, and each group keeps a softmax of its own
// (online, after Milakov and Gimelshein, arXiv:1805.02867). The groups' are merged at the end; the
// splits' (they are FlashDecoding's, Dao et al. 2023) in the shared memory of the first. Keys and
// values of new tokens are read where the product wrote them, so that nobody waits for their way
// into the pool. The past's come through shared memory where they are of 16 bits: as many are on
// their way before the query is known as there is room for, and no register waits for them.
//
// What a block takes behind its query is one instruction after the other, some six cycles each: so
// there are few of them, and where blocks are few, more warps that share the past.
#include <algorithm>

#include "base/rounding.hpp"
#include "kernels/cuda/cached_attention_cuda.hpp"
#include "kernels/cuda/token_past.cuh"

namespace kvcache::kernels {
namespace {

using namespace token_attention;

constexpr int kMaxHeadDim = 256;

/// Tokens that `at` sees among the new ones of its row, itself included.
template <typename Args>
__device__ int visible_new_tokens(const Args& args, const NewToken& at) {
  if (args.tree_parents == nullptr) {
    return at.index + 1;
  }
  int count = 0;
#pragma unroll 1
  for (int node = at.index; node >= 0; node = args.tree_parents[at.begin + node]) {
    ++count;
  }
  return count;
}

/// Grid: tokens, heads, splits.
template <typename T, typename Layout>
__global__ void __launch_bounds__(Layout::kBlockThreads, Layout::kBlocks)
    attention_by_token_kernel(CachedAttentionArgs<T, typename Layout::Cache> args) {
  using Args = CachedAttentionArgs<T, typename Layout::Cache>;
  using ItsPast = std::conditional_t<Layout::kShared, SharedPast<Args, Layout>, Past<Args, Layout>>;
  constexpr int kWarps = Layout::kBlockThreads / 32;
  __shared__ __align__(16) std::byte ring[std::max(ItsPast::kRingBytes, std::size_t{16})];
  __shared__ Parts<Layout, kWarps> of_warps;
  // The first split's has them all; a past in shared memory is not split.
  __shared__ Parts<Layout, Layout::kShared ? 1 : kMaxCluster> of_splits;
  let_next_kernel_start();
  arrive_at_cluster_early();  // all its blocks run before any writes to the first
  const int token = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  const int kv_head = kv_head_of(args, head);
  const int split = static_cast<int>(blockIdx.z);
  const int splits = static_cast<int>(gridDim.z);
  const int lane = static_cast<int>(threadIdx.x) % kGroupLanes;
  const int group = static_cast<int>(threadIdx.x) / kGroupLanes;
  const int head_dim = static_cast<int>(args.head_dim);

  // So are all blocks of its cluster, but they wait for each other.
  if (is_of_no_row(args, token)) {
    if (!Layout::kShared && splits > 1) {
      wait_for_cluster();
    }
    return;
  }
  // The past is there before the kernel that computes the query has ended.
  const NewToken at = find_token(args, token);
  const int past = args.past_lengths[at.row];
  const int path = visible_new_tokens(args, at);
  const int begin = min(first_seen(args, past + path - 1), past);
  const int share = divide_up(past - begin, splits);
  const int end = min(begin + (split + 1) * share, past);
  const int first = begin + split * share + group;
  const RowOfPool pool(args, at.row, kv_head);
  ItsPast its_past(ring, args, pool, first, end, lane);
  // The last split has the fewest positions of the past; it takes the new tokens.
  const int in_window =
      args.rules.window == 0 ? path : min(path, static_cast<int>(args.rules.window));
  const int new_tokens = split == splits - 1 ? in_window : 0;
  // The last groups have the fewest, too: the last of them takes the token itself.
  const int number_of_group = Layout::kGroups - 1 - group;
  const bool starts = new_tokens > 0 && number_of_group == 0;
  const bool appends = starts && is_first_of_group(args, head);
  const std::int64_t append_to =
      appends ? pool.offset(append_position(args, at.row) + at.index) : 0;
  const T* const query_at = args.qkv + query_offset(args, token, head);
  const T* const new_key_at = args.qkv + key_offset(args, token, kv_head);
  const T* const new_value_at = args.qkv + value_offset(args, token, kv_head);
  T* const attention = args.attention + (std::int64_t{token} * args.num_heads + head) * head_dim;

  wait_for_previous_kernel();
  typename Layout::Chunk query_chunks[Layout::kChunks];
  typename Layout::Kept key;
  typename Layout::Kept value;
  Layout::load_chunks(query_at, lane, head_dim, query_chunks);
  if (starts) {
    Layout::load_new(new_key_at, lane, head_dim, key);
    Layout::load_new(new_value_at, lane, head_dim, value);
  }
  if (appends) {
    Layout::store(key, lane, head_dim, args.key_pool + append_to);
    Layout::store(value, lane, head_dim, args.value_pool + append_to);
  }
  float query[Layout::kElements];
#pragma unroll
  for (int i = 0; i < Layout::kElements; ++i) {
    query[i] =
        to_float(query_chunks[i / Layout::kVector].elements[i % Layout::kVector]) * args.scale;
  }

  Softmax<Layout> softmax;
  its_past.attend(query, softmax);
  // New tokens, from the last one seen, the token itself, to the first, so that the walk up a tree
  // goes one way.
  int node = at.index;
  int number = new_tokens - 1;
#pragma unroll 1
  for (int base = new_tokens - 1; base >= number_of_group / kWarpGroups * kWarpGroups;
       base -= Layout::kGroups) {
    const int mine = base - number_of_group;
    float dot = 0;
    if (mine >= 0) {
      if (mine < new_tokens - 1) {
#pragma unroll 1
        for (; number > mine; --number) {
          node = args.tree_parents != nullptr ? args.tree_parents[at.begin + node] : node - 1;
        }
        Layout::load_new(args.qkv + key_offset(args, at.begin + node, kv_head), lane, head_dim,
                         key);
        Layout::load_new(args.qkv + value_offset(args, at.begin + node, kv_head), lane, head_dim,
                         value);
      }
      dot = dot_of_lane<Layout>(query, key);
    }
    const float score = capped(args, sum_of_lanes<kGroupLanes>(dot));
    if (mine >= 0) {
      softmax.raise_max(fmaxf(score, softmax.max));
      softmax.add(__expf(score - softmax.max), value);
    }
  }

  softmax.join_groups();
  const auto thread = static_cast<int>(threadIdx.x);
  if (thread % 32 < kGroupLanes) {
    const int warp = thread / 32;
    if (lane == 0) {
      of_warps.maxima[warp] = softmax.max;
      of_warps.sums[warp] = softmax.sum;
    }
#pragma unroll
    for (int c = 0; c < Layout::kChunks; ++c) {
#pragma unroll
      for (int e = 0; e < Layout::kVector; ++e) {
        of_warps.values[warp][Layout::element(lane, c) + e] =
            softmax.values[c * Layout::kVector + e];
      }
    }
  }
  __syncthreads();
  if (Layout::kShared || splits == 1) {
#pragma unroll 1
    for (int e = thread; e < head_dim; e += Layout::kBlockThreads) {
      const Joined all = of_warps.joined(kWarps, e);
      attention[e] = from_float<T>(all.value / all.sum);
    }
    return;
  }
  wait_for_cluster();
  auto* const gathered = in_first_block(&of_splits);
#pragma unroll 1
  for (int e = thread; e < head_dim; e += Layout::kBlockThreads) {
    const Joined all = of_warps.joined(kWarps, e);
    gathered->values[split][e] = all.value;
    if (e == 0) {
      gathered->maxima[split] = all.max;
      gathered->sums[split] = all.sum;
    }
  }
  arrive_at_cluster();
  if (split > 0) {
    return;
  }
  wait_for_cluster();
#pragma unroll 1
  for (int e = thread; e < head_dim; e += Layout::kBlockThreads) {
    const Joined all = of_splits.joined(splits, e);
    attention[e] = from_float<T>(all.value / all.sum);
  }
}

template <typename T, typename Cache, int kVector, int kChunks>
cudaError_t launch_layout(const CachedAttentionArgs<T, Cache>& args, std::int64_t tokens,
                          std::int64_t splits, LaunchOrder order) {
  const dim3 grid(static_cast<unsigned>(tokens), static_cast<unsigned>(args.num_heads),
                  static_cast<unsigned>(splits));
  // Of a part of the past, registers have room for all that is worth having on its way.
  constexpr bool kMayShare = kVector * sizeof(Cache) == 16 && sizeof(Cache) == 2 && kChunks <= 2;
  const auto start = [&](auto layout) {
    using Layout = decltype(layout);
    return launch(attention_by_token_kernel<T, Layout>, grid, Layout::kBlockThreads, 0, order,
                  args);
  };
  if constexpr (kMayShare) {
    // Of three blocks a multiprocessor, many threads are slower.
    constexpr std::int64_t kFewBlocks = 2;
    static const int multiprocessors = attribute_of_device(cudaDevAttrMultiProcessorCount);
    if (splits == 1 && tokens * args.num_heads <= kFewBlocks * multiprocessors) {
      return start(HeadLayout<T, Cache, kVector, kChunks, true, kManyThreads>{});
    }
    if (splits == 1) {
      return start(HeadLayout<T, Cache, kVector, kChunks, true>{});
    }
  }
  return start(HeadLayout<T, Cache, kVector, kChunks, false>{});
}

}  // namespace

std::int64_t attention_splits(std::int64_t tokens, std::int64_t num_heads, int multiprocessors) {
  std::int64_t splits = 1;
  if (device_has_clusters()) {
    while (splits < kMaxCluster && splits * tokens * num_heads <= std::int64_t{multiprocessors}) {
      splits *= 2;
    }
  }
  return splits;
}

template <typename T, typename Cache>
cudaError_t cached_attention_by_token(const CachedAttentionArgs<T, Cache>& args,
                                      std::int64_t tokens, std::int64_t splits, LaunchOrder order) {
  if (tokens == 0) {
    return cudaSuccess;
  }
  // 16 bytes of the cache at once; of int8, whose vectors end with two bytes more, those two.
  constexpr int kVector = std::is_same_v<Cache, std::int8_t> ? 2 : 16 / sizeof(Cache);
  constexpr int kOf64 = 64 / (kGroupLanes * kVector);
  const auto start = [&](auto vector, auto chunks) {
    return launch_layout<T, Cache, vector.value, chunks.value>(args, tokens, splits, order);
  };
  const std::integral_constant<int, 1> one;
  const std::integral_constant<int, kVector> vector;
  const bool aligned = args.head_dim % kVector == 0;
  if (args.head_dim <= 64) {
    return aligned ? start(vector, std::integral_constant<int, kOf64>{})
                   : start(one, std::integral_constant<int, 64 / kGroupLanes>{});
  }
  if (args.head_dim <= 128 && aligned) {
    return start(vector, std::integral_constant<int, 2 * kOf64>{});
  }
  if (args.head_dim <= kMaxHeadDim) {
    return aligned ? start(vector, std::integral_constant<int, 4 * kOf64>{})
                   : start(one, std::integral_constant<int, kMaxHeadDim / kGroupLanes>{});
  }
  return cudaErrorInvalidValue;
}

template cudaError_t cached_attention_by_token(const CachedAttentionArgs<float>&, std::int64_t,
                                               std::int64_t, LaunchOrder);
template cudaError_t cached_attention_by_token(const CachedAttentionArgs<float, __half>&,
                                               std::int64_t, std::int64_t, LaunchOrder);
template cudaError_t cached_attention_by_token(const CachedAttentionArgs<float, __nv_bfloat16>&,
                                               std::int64_t, std::int64_t, LaunchOrder);
template cudaError_t cached_attention_by_token(const CachedAttentionArgs<float, std::int8_t>&,
                                               std::int64_t, std::int64_t, LaunchOrder);
template cudaError_t cached_attention_by_token(const CachedAttentionArgs<__half>&, std::int64_t,
                                               std::int64_t, LaunchOrder);
template cudaError_t cached_attention_by_token(const CachedAttentionArgs<__nv_bfloat16>&,
                                               std::int64_t, std::int64_t, LaunchOrder);

}  // namespace kvcache::kernels
