// A thread block per tile of 16 or 64 tokens of a row, head and split of the keys, on tensor cores.
// Its warps have 16 of the tokens and a share of each step's keys, with a softmax kept in registers
// (the order of work is FlashAttention-2's, Dao 2023, arXiv:2307.08691); the shares meet in shared
// memory, and so do the splits (FlashDecoding's, Dao et al. 2023), in the block that finishes the
// token. Keys are numbered past first, then the row's new tokens; those of a tree see the ones
// whose bits are set, those of a layer with a window the last ones.
//
// Two steps of keys and values are on their way all the time, the past of them before the kernel
// before has ended.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/cached_attention_cuda.hpp"
#include "kernels/cuda/query_tile_keys.cuh"
#include "kernels/cuda/query_tile_softmax.cuh"

namespace kvcache::kernels {
namespace {

using namespace query_tile;

constexpr int kMaxSplits = 8;

/// Two steps, the queries, and what comes together in the end: of the block's shares in the steps'
/// place, of all splits' blocks behind them; then a tree's bits and parents.
template <typename T, typename Shape>
struct SharedTile {
  static constexpr std::size_t kSteps = 2 * Shape::kStepElements * sizeof(T);
  static constexpr std::size_t kShares = static_cast<std::size_t>(Shape::kShares) *
                                         Shape::kQueries *
                                         (Shape::kSumStride * sizeof(float) + sizeof(float2));
  static constexpr std::size_t kQueriesAt = kSteps > kShares ? kSteps : kShares;
  static constexpr std::size_t kSplitsAt =
      kQueriesAt + Shape::kQueries * Shape::kKeyStride * sizeof(T);

  /// Where there are splits, each block finishes its part of the queries.
  __host__ __device__ static constexpr std::size_t bits_at(int splits) {
    return kSplitsAt +
           (splits == 1 ? 0
                        : Shape::kQueries * (Shape::kSumStride * sizeof(float) + sizeof(float2)));
  }
  static std::size_t bytes(int splits, std::int64_t tree_tokens) {
    const auto words = static_cast<std::size_t>((tree_tokens + 31) / 32);
    return bits_at(splits) +
           (Shape::kQueries * words + static_cast<std::size_t>(tree_tokens)) * sizeof(unsigned);
  }
};

/// Grid: tiles of all rows, heads, splits, which divide the tile's queries.
template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    attention_by_tile_kernel(CachedAttentionArgs<T> args) {
  constexpr int kQueries = Shape::kQueries;
  using Shared = SharedTile<T, Shape>;
  extern __shared__ __align__(16) std::byte shared[];
  T* const steps = reinterpret_cast<T*>(shared);
  T* const queries = reinterpret_cast<T*>(shared + Shared::kQueriesAt);

  __shared__ CopyBarrier splits_there;
  let_next_kernel_start();
  const int split = static_cast<int>(blockIdx.z);
  const int splits = static_cast<int>(gridDim.z);
  // Splits are a power of two; each block finishes as many of the queries.
  constexpr int kQueryBits = kQueries == 16 ? 4 : 6;
  static_assert(kQueries == 1 << kQueryBits);
  const int own_bits = kQueryBits - (__ffs(splits) - 1);
  const int own_queries = 1 << own_bits;
  if (threadIdx.x == 0) {
    splits_there.initialize();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    splits_there.expect(
        static_cast<unsigned>(kQueries * (Shape::kHeadDim * sizeof(float) + sizeof(float2))));
  }
  arrive_at_cluster_early();  // all its blocks run before any sends to another
  const Tile tile = find_tile<kQueries>(args, static_cast<int>(blockIdx.x));
  const int head = static_cast<int>(blockIdx.y);
  const int kv_head = kv_head_of(args, head);
  const int thread = static_cast<int>(threadIdx.x);
  wait_for_cluster();
  if (tile.count == 0) {  // so is it for all blocks of the cluster
    return;
  }
  const int past = args.past_lengths[tile.row];
  const int new_keys = tile.first + tile.count;  // new tokens that some query may see
  const int total = past + new_keys;
  // What the first of the queries sees, from a whole share on.
  const int first = first_seen(args, past + tile.first);
  const int start = first / Shape::kKeys * Shape::kKeys + split * Shape::kKeys;
  const int step = splits * Shape::kKeys;
  KeysAndValues<T, Shape> arriving(args, tile, kv_head, past, first, total);
  Ancestors ancestors(reinterpret_cast<unsigned*>(shared + Shared::bits_at(splits)),
                      (new_keys + 31) / 32);
  if (args.tree_parents != nullptr) {
    ancestors.fill<kQueries, Shape::kThreads>(args, tile);
  }
  const Sight<T> sight{args, tile, ancestors, past, total};
  const int warp = thread / 32;
  const int own = warp % Shape::kGroups * kQueriesOfWarp;
  const int share_at = warp / Shape::kGroups * Shape::kShareKeys;
  WarpTile<T, Shape> warp_tile;
  const int own_steps = total > start ? divide_up(total - start, step) : 0;
  // Two steps are brought before the first is attended to.
  for (int i = 0; i < own_steps + 2; ++i) {
    T* const here = steps + i % 2 * Shape::kStepElements;
    if (i >= 2) {
      const int base = start + (i - 2) * step + share_at;
      if (!sight.nobody_sees(own, base, Shape::kShareKeys)) {
        warp_tile.attend(queries + own * Shape::kKeyStride, here + share_at * Shape::kKeyStride,
                         here + Shape::kValuesAt + share_at * Shape::kValueStride, sight, own,
                         base);
      }
      __syncthreads();  // all have done with the step
    }
    const int base = start + i * step;
    if (i < own_steps) {
      arriving.bring_past(base, here);
    }
    if (i == 0) {
      wait_for_previous_kernel();
      for (int v = thread; v < kQueries * Shape::kVectors; v += Shape::kThreads) {
        const int query = v / Shape::kVectors;
        const int column = v % Shape::kVectors * Shape::kVector;
        const int token = tile.begin + tile.first + min(query, tile.count - 1);
        copy_or_clear(queries + query * Shape::kKeyStride + column,
                      args.qkv + query_offset(args, token, head) + column, query < tile.count);
      }
    }
    if (i < own_steps) {
      arriving.bring_new(base, here);
    }
    commit_copies();
    if (i == 1 && split == splits - 1 && is_first_of_group(args, head)) {
      append_tile<T, Shape>(args, tile, kv_head);
    }
    if (i >= 1) {
      wait_for_copies_but<1>();
      __syncthreads();
    }
  }
  wait_for_copies();
  __syncthreads();  // the shares' results take the steps' place

  auto* const share_values = reinterpret_cast<float*>(shared);
  auto* const share_moments =
      reinterpret_cast<float2*>(share_values + Shape::kShares * kQueries * Shape::kSumStride);
  const int store_at = warp / Shape::kGroups * kQueries + own;
  warp_tile.store(share_values + store_at * Shape::kSumStride, share_moments + store_at);
  __syncthreads();

  const auto write = [&](const Merged<Shape::kSumStride>& merged, int query, int column) {
    if (query < tile.count) {
      const std::int64_t token = tile.begin + tile.first + query;
      const Vector<T, 4> four{
          from_float<T>(merged.value.x / merged.sum), from_float<T>(merged.value.y / merged.sum),
          from_float<T>(merged.value.z / merged.sum), from_float<T>(merged.value.w / merged.sum)};
      four.store(args.attention + (token * args.num_heads + head) * Shape::kHeadDim + column);
    }
  };
  constexpr int kFours = Shape::kHeadDim / 4;
  auto* const split_values = reinterpret_cast<float*>(shared + Shared::kSplitsAt);
  auto* const split_moments =
      reinterpret_cast<float2*>(split_values + kQueries * Shape::kSumStride);
  for (int i = thread; i < kQueries * kFours; i += Shape::kThreads) {
    const int query = i / kFours;
    const int column = i % kFours * 4;
    const Merged<Shape::kSumStride> merged(share_values, share_moments, Shape::kShares, kQueries,
                                           query, column);
    if (splits == 1) {
      write(merged, query, column);
      continue;
    }
    const auto to = static_cast<unsigned>(query >> own_bits);
    const int at = (split << own_bits) + (query & (own_queries - 1));
    float* const value = split_values + at * Shape::kSumStride + column;
    send_to_block(value, {merged.value.x, merged.value.y}, splits_there, to);
    send_to_block(value + 2, {merged.value.z, merged.value.w}, splits_there, to);
    if (column == 0) {
      send_to_block(split_moments + at, {merged.max, merged.sum}, splits_there, to);
    }
  }
  if (splits == 1) {
    return;
  }
  splits_there.wait_for_cluster(0);
  for (int i = thread; i < own_queries * kFours; i += Shape::kThreads) {
    const int query = i / kFours;
    const int column = i % kFours * 4;
    write(
        Merged<Shape::kSumStride>(split_values, split_moments, splits, own_queries, query, column),
        (split << own_bits) + query, column);
  }
}

/// Few tiles are split along the keys until they fill the device.
int choose_splits(std::int64_t tiles, std::int64_t num_heads, int multiprocessors) {
  int splits = 1;
  while (device_has_clusters() && splits < kMaxSplits &&
         2 * splits * tiles * num_heads <= std::int64_t{multiprocessors}) {
    splits *= 2;
  }
  return splits;
}

std::int64_t tiles_of(std::int64_t rows, std::int64_t tokens, std::int64_t queries) {
  return rows == 1 ? divide_up(tokens, queries) : tokens / queries + rows;
}

template <typename T>
std::int64_t tree_tokens(const CachedAttentionArgs<T>& args, std::int64_t tokens) {
  return args.tree_parents == nullptr ? 0 : tokens;
}

template <typename T, typename Shape>
cudaError_t launch_shape(const CachedAttentionArgs<T>& args, std::int64_t tokens,
                         int multiprocessors, LaunchOrder order) {
  const auto kernel = attention_by_tile_kernel<T, Shape>;
  static const cudaError_t more_shared = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most_shared_bytes()));
  if (more_shared != cudaSuccess) {
    return more_shared;
  }
  const std::int64_t tiles = tiles_of(args.rows, tokens, Shape::kQueries);
  const int splits = choose_splits(tiles, args.num_heads, multiprocessors);
  return launch(kernel,
                dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(args.num_heads),
                     static_cast<unsigned>(splits)),
                Shape::kThreads, SharedTile<T, Shape>::bytes(splits, tree_tokens(args, tokens)),
                order, args);
}

/// Calls `work` with the two shapes of the head's size, of 16 and of 64 queries; otherwise returns
/// `none`.
template <typename T, typename Result, typename Work>
Result with_shapes(const CachedAttentionArgs<T>& args, Result none, const Work& work) {
  const auto shapes = [&](auto head_dim) {
    return work(TileShape<T, head_dim.value, 16>{}, TileShape<T, head_dim.value, 64>{});
  };
  if constexpr (sizeof(T) == 2) {
    switch (args.head_dim) {
      case 16:
        return shapes(std::integral_constant<int, 16>{});
      case 80:
        return shapes(std::integral_constant<int, 80>{});
      default:
        break;
    }
  }
  switch (args.head_dim) {
    case 32:
      return shapes(std::integral_constant<int, 32>{});
    case 64:
      return shapes(std::integral_constant<int, 64>{});
    case 96:
      return shapes(std::integral_constant<int, 96>{});
    case 128:
      return shapes(std::integral_constant<int, 128>{});
    default:
      return none;
  }
}

}  // namespace

template <typename T>
bool attention_tiles_fit(const CachedAttentionArgs<T>& args, std::int64_t tokens) {
  if (args.tree_parents != nullptr && args.rules.window != 0) {
    return false;
  }
  const int splits = device_has_clusters() ? kMaxSplits : 1;
  const std::int64_t nodes = tree_tokens(args, tokens);
  return with_shapes(args, false, [&]<typename Small, typename Large>(Small, Large) {
    return std::max(SharedTile<T, Small>::bytes(splits, nodes),
                    SharedTile<T, Large>::bytes(splits, nodes)) <= most_shared_bytes();
  });
}

template <typename T>
cudaError_t cached_attention_by_tile(const CachedAttentionArgs<T>& args, std::int64_t tokens,
                                     int multiprocessors, LaunchOrder order) {
  if (tokens == 0) {
    return cudaSuccess;
  }
  return with_shapes(args, cudaErrorInvalidValue,
                     [&]<typename Small, typename Large>(Small, Large) {
                       // Small tiles while they fit the device together, and for short rows.
                       const bool few = 2 * tiles_of(args.rows, tokens, 16) * args.num_heads <=
                                        3 * std::int64_t{multiprocessors};
                       return few || tokens < 32 * args.rows
                                  ? launch_shape<T, Small>(args, tokens, multiprocessors, order)
                                  : launch_shape<T, Large>(args, tokens, multiprocessors, order);
                     });
}

template bool attention_tiles_fit(const CachedAttentionArgs<float>&, std::int64_t);
template bool attention_tiles_fit(const CachedAttentionArgs<__half>&, std::int64_t);
template bool attention_tiles_fit(const CachedAttentionArgs<__nv_bfloat16>&, std::int64_t);
template cudaError_t cached_attention_by_tile(const CachedAttentionArgs<float>&, std::int64_t, int,
                                              LaunchOrder);
template cudaError_t cached_attention_by_tile(const CachedAttentionArgs<__half>&, std::int64_t, int,
                                              LaunchOrder);
template cudaError_t cached_attention_by_tile(const CachedAttentionArgs<__nv_bfloat16>&,
                                              std::int64_t, int, LaunchOrder);

}  // namespace kvcache::kernels
