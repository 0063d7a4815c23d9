// A thread block per 64 tokens of a row, head and split of the keys, on tensor cores: a warp has 16
// of the tokens and goes through tiles of 64 keys with a softmax kept in registers (the order of
// work is FlashAttention-2's, Dao 2023, arXiv:2307.08691). Keys are numbered past first, then the
// row's new tokens; those of a tree see the ones whose bits are set, those of a layer with a window
// the last ones. The splits' results meet in
// the shared memory of the first.
#include <algorithm>
#include <cfloat>
#include <iterator>

#include "base/rounding.hpp"
#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/cached_attention_cuda.hpp"
#include "kernels/cuda/tensor_cores.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kTile = 64;  // queries of a block, keys of a step
constexpr int kQueriesOfWarp = 16;
constexpr int kPad = 8;  // elements behind a row in shared memory: no bank conflicts
constexpr std::int64_t kMaxTreeTokens = 4096;  // rows of bits must fit shared memory

template <typename T>
__device__ unsigned pack(float low, float high) {
  const Vector<T, 2> both{from_float<T>(low), from_float<T>(high)};
  return *reinterpret_cast<const unsigned*>(&both);
}

/// Two 8×8 matrices below one another, transposed: `row` is this lane's row, lanes 0 to 15.
template <typename T>
__device__ void load_transposed(const T* row, unsigned& upper, unsigned& lower) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(upper), "=r"(lower)
               : "r"(address));
}

/// The tile of a row that a block works on.
struct Tile {
  int row;
  int begin;  // of the row, among all tokens
  int first;  // token of the row
  int count;  // 0: there is no such tile
};

/// Rows are divided into tiles of their own, numbered one row after the other.
template <typename T>
__device__ Tile find_tile(const CachedAttentionArgs<T>& args, int number) {
  int before = 0;
  for (int row = 0; row < args.rows; ++row) {
    const int begin = args.row_offsets != nullptr ? args.row_offsets[row]
                                                  : row * static_cast<int>(args.tokens_per_row);
    const int end = args.row_offsets != nullptr ? args.row_offsets[row + 1]
                                                : begin + static_cast<int>(args.tokens_per_row);
    const int tiles = divide_up(end - begin, kTile);
    if (number < before + tiles) {
      const int first = (number - before) * kTile;
      return {row, begin, first, min(kTile, end - begin - first)};
    }
    before += tiles;
  }
  return {0, 0, 0, 0};
}

/// A thread's share of a tile's keys and values, on its way from device memory.
template <typename T, int kHeadDim>
struct KeysAndValues {
  static constexpr int kVector = 8;
  static constexpr int kVectors = kHeadDim / kVector;  // of a head's key or value
  static constexpr int kShare = kTile * kVectors / kThreads;
  using Chunk = Vector<T, kVector>;
  Chunk keys[kShare];
  Chunk values[kShare];

  /// Numbers base …, zeros before `first`, whose block may have been given back, and from `total`
  /// on.
  __device__ void load(const CachedAttentionArgs<T>& args, const Tile& tile, int kv_head, int past,
                       int base, int first, int total) {
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * kThreads;
      const int number = base + at / kVectors;
      const int column = at % kVectors * kVector;
      keys[i] = Chunk::zero();
      values[i] = Chunk::zero();
      if (number < first) {
        continue;
      }
      if (number < past) {
        const std::int64_t from = pool_offset(args, tile.row, number, kv_head) + column;
        keys[i] = Chunk::load(args.key_pool + from);
        values[i] = Chunk::load(args.value_pool + from);
      } else if (number < total) {
        const int token = tile.begin + number - past;
        keys[i] = Chunk::load(args.qkv + key_offset(args, token, kv_head) + column);
        values[i] = Chunk::load(args.qkv + value_offset(args, token, kv_head) + column);
      }
    }
  }

  template <int kStride>
  __device__ void store(T (&to_keys)[kTile][kStride], T (&to_values)[kTile][kStride]) const {
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * kThreads;
      keys[i].store(&to_keys[at / kVectors][at % kVectors * kVector]);
      values[i].store(&to_values[at / kVectors][at % kVectors * kVector]);
    }
  }
};

/// Writes the tile's keys and values to the pools.
template <typename T, int kHeadDim>
__device__ void append_tile(const CachedAttentionArgs<T>& args, const Tile& tile, int kv_head) {
  using Chunk = typename KeysAndValues<T, kHeadDim>::Chunk;
  constexpr int kVector = KeysAndValues<T, kHeadDim>::kVector;
  constexpr int kVectors = kHeadDim / kVector;
  const int first_position = append_position(args, tile.row) + tile.first;
  for (int i = static_cast<int>(threadIdx.x); i < tile.count * kVectors; i += kThreads) {
    const int query = i / kVectors;
    const int column = i % kVectors * kVector;
    const int token = tile.begin + tile.first + query;
    const std::int64_t to = pool_offset(args, tile.row, first_position + query, kv_head) + column;
    Chunk::load(args.qkv + key_offset(args, token, kv_head) + column).store(args.key_pool + to);
    Chunk::load(args.qkv + value_offset(args, token, kv_head) + column).store(args.value_pool + to);
  }
}

/// The results of the splits behind the first, in the first one's shared memory.
template <int kHeadDim>
struct SplitResults {
  float values[kTile][kHeadDim];
  float maxima[kTile];
  float sums[kTile];
};

/// Grid: tiles of all rows, heads, splits. kHeadDim is a multiple of 16.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads) attention_by_tile_kernel(CachedAttentionArgs<T> args) {
  constexpr int kStride = kHeadDim + kPad;
  using Chunk = typename KeysAndValues<T, kHeadDim>::Chunk;
  constexpr int kVector = KeysAndValues<T, kHeadDim>::kVector;
  constexpr int kVectors = kHeadDim / kVector;
  __shared__ alignas(16) T keys[kTile][kStride];
  __shared__ alignas(16) T values[kTile][kStride];
  extern __shared__ __align__(16) std::byte dynamic[];
  // The results of the other splits, then for trees [kTile][words] bits.
  auto* others = reinterpret_cast<SplitResults<kHeadDim>*>(dynamic);
  auto* ancestors = reinterpret_cast<unsigned*>(others + gridDim.z - 1);

  let_next_kernel_start();
  arrive_at_cluster();  // all its blocks run before any writes to the first
  const int split = static_cast<int>(blockIdx.z);
  const int splits = static_cast<int>(gridDim.z);
  const Tile tile = find_tile(args, static_cast<int>(blockIdx.x));
  const int head = static_cast<int>(blockIdx.y);
  const int kv_head = kv_head_of(args, head);
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const int lane = thread % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  if (tile.count == 0) {
    return;
  }
  const int past = args.past_lengths[tile.row];
  const int new_keys = tile.first + tile.count;  // new tokens that some query may see
  const int total = past + new_keys;
  const auto window = static_cast<int>(args.rules.window);  // of chains only
  // What the first of the queries sees, from a whole tile on.
  const int first = first_seen(args, past + tile.first);
  const int start = first / kTile * kTile;
  const bool tree = args.tree_parents != nullptr;
  const int words = (new_keys + 31) / 32;
  if (tree) {
    for (int i = thread; i < kTile * words; i += kThreads) {
      ancestors[i] = 0;
    }
    __syncthreads();
    if (thread < tile.count) {
      unsigned* bits = ancestors + thread * words;
      for (int node = tile.first + thread; node >= 0; node = args.tree_parents[tile.begin + node]) {
        bits[node / 32] |= 1U << (node % 32);
      }
    }
  }

  wait_for_previous_kernel();
  KeysAndValues<T, kHeadDim> arriving;
  arriving.load(args, tile, kv_head, past, start + split * kTile, first, total);
  if (split == splits - 1 && head == kv_head * (args.num_heads / args.num_kv_heads)) {
    append_tile<T, kHeadDim>(args, tile, kv_head);
  }
  // The queries as left factors; through `keys`, which is free now.
  for (int i = thread; i < kTile * kVectors; i += kThreads) {
    const int query = i / kVectors;
    const int column = i % kVectors * kVector;
    const Chunk chunk =
        query < tile.count
            ? Chunk::load(args.qkv + query_offset(args, tile.begin + tile.first + query, head) +
                          column)
            : Chunk::zero();
    chunk.store(&keys[query][column]);
  }
  __syncthreads();
  unsigned queries[kHeadDim / 16][4];
  const int own = warp * kQueriesOfWarp;
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    const int column = d * 16 + 2 * t;
    queries[d][0] = pair_at(&keys[own + g][column]);
    queries[d][1] = pair_at(&keys[own + g + 8][column]);
    queries[d][2] = pair_at(&keys[own + g][column + 8]);
    queries[d][3] = pair_at(&keys[own + g + 8][column + 8]);
  }

  float mixed[kHeadDim / 8][4] = {};
  float max[2] = {-FLT_MAX, -FLT_MAX};  // of rows g and g + 8
  float sum[2] = {};
  constexpr float kLog2E = 1.4426950408889634F;  // powers of two are what the device has
  for (int base = start + split * kTile; base < total; base += splits * kTile) {
    __syncthreads();  // all have done with the tile before, and with the queries
    arriving.store(keys, values);
    __syncthreads();
    arriving.load(args, tile, kv_head, past, base + splits * kTile, first, total);

    float scores[kTile / 8][4] = {};
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int d = 0; d < kHeadDim / 16; ++d) {
        const T* key = &keys[n * 8 + g][d * 16 + 2 * t];
        multiply_add<T>(scores[n], queries[d], pair_at(key), pair_at(key + 8));
      }
    }
    float new_max[2] = {max[0], max[1]};
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int query = own + g + (i / 2) * 8;
        const int number = base + n * 8 + 2 * t + i % 2;
        bool visible = number < total && query < tile.count;
        if (number >= past && visible) {
          const int node = number - past;
          visible = tree ? (ancestors[query * words + node / 32] >> (node % 32) & 1U) != 0
                         : node <= tile.first + query;
        }
        visible = visible && (window == 0 || number + window > past + tile.first + query);
        scores[n][i] = visible ? capped(args, scores[n][i] * args.scale) * kLog2E : -FLT_MAX;
        new_max[i / 2] = fmaxf(new_max[i / 2], scores[n][i]);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      new_max[r] = fmaxf(new_max[r], __shfl_xor_sync(kAllLanes, new_max[r], 1));
      new_max[r] = fmaxf(new_max[r], __shfl_xor_sync(kAllLanes, new_max[r], 2));
      const float factor = exp2f(max[r] - new_max[r]);
      sum[r] *= factor;
      max[r] = new_max[r];
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        mixed[d][2 * r] *= factor;
        mixed[d][2 * r + 1] *= factor;
      }
    }
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // A row that has seen nothing yet has the least maximum, and hidden keys weigh nothing.
        const float weight = scores[n][i] == -FLT_MAX ? 0.0F : exp2f(scores[n][i] - max[i / 2]);
        scores[n][i] = weight;
        sum[i / 2] += weight;
      }
    }
#pragma unroll
    for (int k = 0; k < kTile / 16; ++k) {
      const unsigned weights[4] = {pack<T>(scores[2 * k][0], scores[2 * k][1]),
                                   pack<T>(scores[2 * k][2], scores[2 * k][3]),
                                   pack<T>(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                                   pack<T>(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        unsigned upper = 0;
        unsigned lower = 0;
        load_transposed(&values[k * 16 + lane % 16][d * 8], upper, lower);
        multiply_add<T>(mixed[d], weights, upper, lower);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sum[r] += __shfl_xor_sync(kAllLanes, sum[r], 1);
    sum[r] += __shfl_xor_sync(kAllLanes, sum[r], 2);
  }
  wait_for_cluster();
  if (split > 0) {
    SplitResults<kHeadDim>* results = in_first_block(others) + split - 1;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int query = own + g + r * 8;
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        const Vector<float, 2> both{mixed[d][2 * r], mixed[d][2 * r + 1]};
        both.store(&results->values[query][d * 8 + 2 * t]);
      }
      if (t == 0) {
        results->maxima[query] = max[r];
        results->sums[query] = sum[r];
      }
    }
  }
  arrive_at_cluster();
  if (split > 0) {
    return;
  }
  wait_for_cluster();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int query = own + g + r * 8;
    for (int other = 0; other < splits - 1; ++other) {
      const SplitResults<kHeadDim>& results = others[other];
      const float all_max = fmaxf(max[r], results.maxima[query]);
      const float own_factor = exp2f(max[r] - all_max);
      const float factor = exp2f(results.maxima[query] - all_max);
      max[r] = all_max;
      sum[r] = sum[r] * own_factor + results.sums[query] * factor;
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        const auto both = Vector<float, 2>::load(&results.values[query][d * 8 + 2 * t]);
        mixed[d][2 * r] = mixed[d][2 * r] * own_factor + both.elements[0] * factor;
        mixed[d][2 * r + 1] = mixed[d][2 * r + 1] * own_factor + both.elements[1] * factor;
      }
    }
    if (query < tile.count) {
      const std::int64_t token = tile.begin + tile.first + query;
      T* to = args.attention + (token * args.num_heads + head) * kHeadDim + 2 * t;
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        const Vector<T, 2> both{from_float<T>(mixed[d][2 * r] / sum[r]),
                                from_float<T>(mixed[d][2 * r + 1] / sum[r])};
        both.store(to + d * 8);
      }
    }
  }
}

/// Few tiles are split along the keys until they fill the device.
unsigned choose_splits(std::int64_t tiles, std::int64_t num_heads, int multiprocessors) {
  constexpr unsigned kMaxSplits = 4;  // more would leave no shared memory for a second block
  unsigned splits = 1;
  while (device_has_clusters() && splits < kMaxSplits &&
         2 * splits * tiles * num_heads <= 3 * std::int64_t{multiprocessors}) {
    splits *= 2;
  }
  return splits;
}

template <typename T, int kHeadDim>
cudaError_t launch_tiles(const CachedAttentionArgs<T>& args, std::int64_t tokens,
                         int multiprocessors, LaunchOrder order) {
  constexpr std::size_t kMaxShared = std::size_t{160} << 10;
  const auto kernel = attention_by_tile_kernel<T, kHeadDim>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kMaxShared));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const std::int64_t tiles = args.rows == 1 ? divide_up(tokens, kTile) : tokens / kTile + args.rows;
  const std::int64_t words = args.tree_parents == nullptr ? 0 : (tokens + 31) / 32;
  const std::size_t bits = static_cast<std::size_t>(kTile * words) * sizeof(unsigned);
  const unsigned splits = choose_splits(tiles, args.num_heads, multiprocessors);
  const std::size_t shared = (splits - 1) * sizeof(SplitResults<kHeadDim>) + bits;
  return launch(kernel,
                dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(args.num_heads), splits),
                kThreads, shared, order, args);
}

}  // namespace

template <typename T>
bool attention_tiles_fit(const CachedAttentionArgs<T>& args, std::int64_t tokens) {
  constexpr std::int64_t kHeadDims[]{16, 32, 64, 80, 96, 128};
  return std::ranges::find(kHeadDims, args.head_dim) != std::end(kHeadDims) &&
         tokens <= kMaxTreeTokens && (args.tree_parents == nullptr || args.rules.window == 0);
}

template <typename T>
cudaError_t cached_attention_by_tile(const CachedAttentionArgs<T>& args, std::int64_t tokens,
                                     int multiprocessors, LaunchOrder order) {
  if (tokens == 0) {
    return cudaSuccess;
  }
  switch (args.head_dim) {
    case 16:
      return launch_tiles<T, 16>(args, tokens, multiprocessors, order);
    case 32:
      return launch_tiles<T, 32>(args, tokens, multiprocessors, order);
    case 64:
      return launch_tiles<T, 64>(args, tokens, multiprocessors, order);
    case 80:
      return launch_tiles<T, 80>(args, tokens, multiprocessors, order);
    case 96:
      return launch_tiles<T, 96>(args, tokens, multiprocessors, order);
    case 128:
      return launch_tiles<T, 128>(args, tokens, multiprocessors, order);
    default:
      return cudaErrorInvalidValue;
  }
}

template bool attention_tiles_fit(const CachedAttentionArgs<__half>&, std::int64_t);
template bool attention_tiles_fit(const CachedAttentionArgs<__nv_bfloat16>&, std::int64_t);
template cudaError_t cached_attention_by_tile(const CachedAttentionArgs<__half>&, std::int64_t, int,
                                              LaunchOrder);
template cudaError_t cached_attention_by_tile(const CachedAttentionArgs<__nv_bfloat16>&,
                                              std::int64_t, int, LaunchOrder);

}  // namespace kvcache::kernels
