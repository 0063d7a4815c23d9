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
#include <cfloat>

#include "base/rounding.hpp"
#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/cached_attention_cuda.hpp"
#include "kernels/cuda/kept_vectors.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kThreads = 128;      // of a block
constexpr int kManyThreads = 256;  // where there are few blocks
constexpr int kGroupLanes = 8;
constexpr int kWarpGroups = 32 / kGroupLanes;
constexpr int kMaxHeadDim = 256;

/// How a head is divided among a group's lanes: lane l holds elements (chunk · 8 + l) · kVector …
/// Those of the cache are CacheElement's.
template <typename T, typename CacheElement, int kVectorSize, int kChunkCount, bool kIsShared,
          int kThreadCount = kThreads>
struct HeadLayout {
  using Cache = CacheElement;
  static constexpr int kBlockThreads = kThreadCount;
  static constexpr int kGroups = kBlockThreads / kGroupLanes;
  static constexpr int kVector = kVectorSize;
  static constexpr int kChunks = kChunkCount;
  static constexpr int kElements = kVector * kChunks;
  static constexpr int kMostDims = kElements * kGroupLanes;
  // Positions that a group attends to at once, whose keys and values are in 32 registers.
  static constexpr int kAhead =
      std::max(1, 64 * kThreads / kBlockThreads /
                      (kElements * std::max(2, static_cast<int>(sizeof(Cache)))));
  static constexpr bool kShared = kIsShared;  // whether they come through shared memory
  // That fit on a multiprocessor, so that batches of 64 rows and 12 heads have their past on its
  // way all at once.
  static constexpr int kBlocks = kShared && kChunks == 1 ? 6 * kThreads / kBlockThreads : 1;
  using Chunk = Vector<T, kVector>;
  using Kept = KeptPart<Cache, kVector, kChunks>;

  __device__ static int element(int lane, int chunk) {
    return (chunk * kGroupLanes + lane) * kVector;
  }
  __device__ static void store(const Kept& from, int lane, int head_dim, Cache* head) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      if (element(lane, c) < head_dim) {
        from.chunks[c].store(head + element(lane, c));
      }
    }
    if constexpr (std::is_same_v<Cache, std::int8_t>) {
      if (lane == 0) {
        store_scale<kVector>(from.scale, head + head_dim);
      }
    }
  }
  template <typename Element>
  __device__ static void load_chunks(const Element* head, int lane, int head_dim,
                                     Vector<Element, kVector> (&to)[kChunks]) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      to[c] = element(lane, c) < head_dim ? Vector<Element, kVector>::load(head + element(lane, c))
                                          : Vector<Element, kVector>::zero();
    }
  }
  /// A lane's part of one head's key or value, or zeros.
  __device__ static void load(const Cache* head, int lane, int head_dim, bool exists, Kept& to) {
    load_chunks(head, lane, exists ? head_dim : 0, to.chunks);
    if constexpr (std::is_same_v<Cache, std::int8_t>) {
      to.scale = exists ? load_scale<kVector>(head + head_dim) : __float2bfloat16_rn(0.0F);
    }
  }
  /// The same of a new token, which the group's lanes round as the cache keeps it.
  __device__ static void load_new(const T* head, int lane, int head_dim, Kept& to) {
    Chunk chunks[kChunks];
    load_chunks(head, lane, head_dim, chunks);
    keep<Cache, kGroupLanes>(chunks, to);
  }
};

/// A lane's part of the product of a query and a key.
template <typename Layout>
__device__ float dot_of_lane(const float (&query)[Layout::kElements],
                             const typename Layout::Kept& key) {
  float dot = 0;
#pragma unroll
  for (int c = 0; c < Layout::kChunks; ++c) {
    float elements[Layout::kVector];
    widen(key.chunks[c], elements);
#pragma unroll
    for (int i = 0; i < Layout::kVector; ++i) {
      dot += query[c * Layout::kVector + i] * elements[i];
    }
  }
  return dot * scale_of(key);
}

/// A softmax of some positions: their largest score, the sum of exp(score − largest), and the
/// values weighted so.
template <typename Layout>
struct Softmax {
  float max = -FLT_MAX;
  float sum = 0;
  float values[Layout::kElements] = {};

  __device__ void raise_max(float new_max) {
    const float factor = __expf(max - new_max);
    sum *= factor;
#pragma unroll
    for (float& value : values) {
      value *= factor;
    }
    max = new_max;
  }

  /// Those of the warp's groups as one, in each of them.
  __device__ void join_groups() {
    float of_warp = max;
#pragma unroll
    for (int offset = kGroupLanes; offset < 32; offset *= 2) {
      of_warp = fmaxf(of_warp, __shfl_xor_sync(kAllLanes, of_warp, offset));
    }
    raise_max(of_warp);
#pragma unroll
    for (int offset = kGroupLanes; offset < 32; offset *= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, offset);
#pragma unroll
      for (float& value : values) {
        value += __shfl_xor_sync(kAllLanes, value, offset);
      }
    }
  }

  /// `weight`: exp(score − max).
  __device__ void add(float weight, const typename Layout::Kept& value) {
    sum += weight;
    weight *= scale_of(value);
#pragma unroll
    for (int c = 0; c < Layout::kChunks; ++c) {
      float elements[Layout::kVector];
      widen(value.chunks[c], elements);
#pragma unroll
      for (int i = 0; i < Layout::kVector; ++i) {
        values[c * Layout::kVector + i] += weight * elements[i];
      }
    }
  }
};

/// Keys and values of up to kAhead positions of a group; zeros where there is none.
template <typename Args, typename Layout>
struct Positions {
  typename Layout::Kept keys[Layout::kAhead];
  typename Layout::Kept values[Layout::kAhead];

  /// Of the past: positions first, first + kGroups, …, those before `end`.
  __device__ void load(const Args& args, const RowOfPool& pool, int first, int end, int lane) {
    const int head_dim = static_cast<int>(args.head_dim);
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      const int position = first + i * Layout::kGroups;
      const bool exists = position < end;
      const std::int64_t from = exists ? pool.offset(position) : 0;
      Layout::load(args.key_pool + from, lane, head_dim, exists, keys[i]);
      Layout::load(args.value_pool + from, lane, head_dim, exists, values[i]);
    }
  }

  __device__ void attend(const Args& args, const float (&query)[Layout::kElements], int first,
                         int end, Softmax<Layout>& softmax) const {
    float scores[Layout::kAhead];
    float max = softmax.max;
    // All groups of a warp take part, and none goes another way: that would be more code.
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      scores[i] = sum_of_lanes<kGroupLanes>(dot_of_lane<Layout>(query, keys[i]));
    }
    if (args.rules.soft_cap > 0) {
#pragma unroll
      for (float& score : scores) {
        score = capped(args, score);
      }
    }
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      max = first + i * Layout::kGroups < end ? fmaxf(max, scores[i]) : max;
    }
    softmax.raise_max(max);
#pragma unroll
    for (int i = 0; i < Layout::kAhead; ++i) {
      const float weight = __expf(scores[i] - max);
      softmax.add(first + i * Layout::kGroups < end ? weight : 0.0F, values[i]);
    }
  }
};

/// A group's share of the past, on its way in registers: every Layout::kGroups-th position from
/// `first` to before `end`.
template <typename Args, typename Layout>
class Past {
 public:
  static constexpr std::size_t kRingBytes = 0;

  __device__ Past(std::byte* /*shared*/, const Args& args, const RowOfPool& pool, int first,
                  int end, int lane)
      : args_(args), pool_(pool), first_(first), end_(end), lane_(lane) {
    positions_.load(args, pool, first, end, lane);
  }

  __device__ void attend(const float (&query)[Layout::kElements], Softmax<Layout>& softmax) {
    constexpr int kStride = Layout::kGroups * Layout::kAhead;
    const int group = static_cast<int>(threadIdx.x) / kGroupLanes;
#pragma unroll 1
    for (int base = first_; base - group < end_; base += kStride) {
      positions_.attend(args_, query, base, end_, softmax);
      positions_.load(args_, pool_, base + kStride, end_, lane_);
    }
  }

 private:
  const Args& args_;
  const RowOfPool& pool_;
  int first_;
  int end_;
  int lane_;
  Positions<Args, Layout> positions_;
};

/// The same through shared memory: a lane copies there what it reads itself, so that nobody waits
/// for a barrier.
template <typename Args, typename Layout>
class SharedPast {
 public:
  static constexpr int kBatches = 2;  // on their way

  /// [batches, kAhead, key or value, chunks, threads] of what a lane has at once.
  using Ring =
      Vector<typename Layout::Cache, Layout::kVector>[kBatches][Layout::kAhead][2][Layout::kChunks]
                                                     [Layout::kBlockThreads];

  static constexpr std::size_t kRingBytes = sizeof(Ring);

  __device__ SharedPast(std::byte* shared, const Args& args, const RowOfPool& pool, int first,
                        int end, int lane)
      : ring_(*reinterpret_cast<Ring*>(shared)),
        args_(args),
        pool_(pool),
        first_(first),
        end_(end),
        lane_(lane) {
#pragma unroll 1
    for (int batch = 0; batch < kBatches; ++batch) {
      copy(batch, first + batch * kStride);
    }
  }

  __device__ void attend(const float (&query)[Layout::kElements], Softmax<Layout>& softmax) {
    const int group = static_cast<int>(threadIdx.x) / kGroupLanes;
    int batch = 0;
#pragma unroll 1
    for (int base = first_; base - group < end_; base += kStride) {
      wait_for_copies_but<kBatches - 1>();
      Positions<Args, Layout> positions;
#pragma unroll
      for (int i = 0; i < Layout::kAhead; ++i) {
#pragma unroll
        for (int c = 0; c < Layout::kChunks; ++c) {
          positions.keys[i].chunks[c] = ring_[batch][i][0][c][threadIdx.x];
          positions.values[i].chunks[c] = ring_[batch][i][1][c][threadIdx.x];
        }
      }
      positions.attend(args_, query, base, end_, softmax);
      copy(batch, base + kBatches * kStride);
      batch = batch + 1 == kBatches ? 0 : batch + 1;
    }
  }

 private:
  static constexpr int kStride = Layout::kGroups * Layout::kAhead;

  /// A group of copies, also where there is nothing to copy; zeros where there is none for a lane.
  __device__ void copy(int batch, int base) {
    const int group = static_cast<int>(threadIdx.x) / kGroupLanes;
    if (base - group < end_) {
#pragma unroll
      for (int i = 0; i < Layout::kAhead; ++i) {
        const int position = base + i * Layout::kGroups;
        const bool is_there = position < end_;
        const std::int64_t from = is_there ? pool_.offset(position) : 0;
#pragma unroll
        for (int c = 0; c < Layout::kChunks; ++c) {
          const int element = Layout::element(lane_, c);
          const bool exists = is_there && element < static_cast<int>(args_.head_dim);
          const std::int64_t at = exists ? from + element : 0;
          copy_or_clear(&ring_[batch][i][0][c][threadIdx.x], args_.key_pool + at, exists);
          copy_or_clear(&ring_[batch][i][1][c][threadIdx.x], args_.value_pool + at, exists);
        }
      }
    }
    commit_copies();
  }

  Ring& ring_;
  const Args& args_;
  const RowOfPool& pool_;
  int first_;
  int end_;
  int lane_;
};

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

/// One of head_dim elements of softmaxes put together: the largest score, and of the values and the
/// weights the sums.
struct Joined {
  float max = -FLT_MAX;
  float sum = 0;
  float value = 0;
};

/// Softmaxes of parts of what a query sees, in shared memory.
template <typename Layout, int kMost>
struct Parts {
  float maxima[kMost];
  float sums[kMost];
  float values[kMost][Layout::kMostDims];

  /// The first `count` of them.
  [[nodiscard]] __device__ Joined joined(int count, int element) const {
    Joined all;
#pragma unroll
    for (int part = 0; part < kMost; ++part) {
      all.max = part < count ? fmaxf(all.max, maxima[part]) : all.max;
    }
#pragma unroll
    for (int part = 0; part < kMost; ++part) {
      if (part < count) {
        const float factor = __expf(maxima[part] - all.max);
        all.sum += factor * sums[part];
        all.value += factor * values[part][element];
      }
    }
    return all;
  }
};

/// Grid: tokens, heads, splits.
template <typename T, typename Layout>
__global__ void __launch_bounds__(Layout::kBlockThreads, Layout::kBlocks)
    attention_by_token_kernel(CachedAttentionArgs<T, typename Layout::Cache> args) {
  using Args = CachedAttentionArgs<T, typename Layout::Cache>;
  using ItsPast = std::conditional_t<Layout::kShared, SharedPast<Args, Layout>, Past<Args, Layout>>;
  constexpr int kWarps = Layout::kBlockThreads / 32;
  __shared__ __align__(16) std::byte ring[std::max(ItsPast::kRingBytes, std::size_t{16})];
  __shared__ Parts<Layout, kWarps> of_warps;
  __shared__ Parts<Layout, kMaxCluster> of_splits;  // the first split's has them all
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

  if (is_of_no_row(args,
                   token)) {  // so are all blocks of its cluster, but they wait for each other
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
    static const int multiprocessors = attribute_of_device(cudaDevAttrMultiProcessorCount);
    constexpr std::int64_t kFewBlocks =
        2;  // a multiprocessor's; three, and many threads are slower
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
