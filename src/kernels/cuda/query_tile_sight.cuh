// Which keys the queries of a tile see: of chains, trees and windows.
#pragma once

#include "kernels/cuda/query_tile.cuh"

namespace kvcache::kernels::query_tile {

/// Which new tokens each query of a tile sees, where they are a tree: a bit each.
class Ancestors {
 public:
  /// In shared memory: bits [kQueries, words], then parents [new_keys].
  __device__ Ancestors(unsigned* shared, int words) : bits_(shared), words_(words) {}

  template <int kQueries, int kThreads, typename T>
  __device__ void fill(const CachedAttentionArgs<T>& args, const Tile& tile) {
    const auto thread = static_cast<int>(threadIdx.x);
    auto* const parents = reinterpret_cast<int*>(bits_ + kQueries * words_);
    for (int i = thread; i < tile.first + tile.count; i += kThreads) {
      parents[i] = args.tree_parents[tile.begin + i];
    }
    for (int i = thread; i < kQueries * words_; i += kThreads) {
      bits_[i] = 0;
    }
    __syncthreads();
    if (thread < tile.count) {
      unsigned* const bits = bits_ + thread * words_;
      for (int node = tile.first + thread; node >= 0; node = parents[node]) {
        bits[node / 32] |= 1U << (node % 32);
      }
    }
  }

  /// Whether `query` sees node `from`, `from` + 1 …: a bit each. Before the first and behind the
  /// last are none.
  [[nodiscard]] __device__ std::uint64_t seen(int query, int from) const {
    const auto word = [&](int i) {
      return i < words_ ? std::uint64_t{bits_[query * words_ + i]} : std::uint64_t{0};
    };
    if (from < 0) {
      return from <= -64 ? 0 : (word(0) | word(1) << 32) << -from;
    }
    const int first = from / 32;
    const int shift = from % 32;
    return (word(first) | word(first + 1) << 32) >> shift |
           (shift == 0 ? 0 : word(first + 2) << (64 - shift));
  }

 private:
  unsigned* bits_;
  int words_;
};

/// Ones below bit `count`.
__device__ inline std::uint64_t ones(int count) {
  return count >= 64 ? ~std::uint64_t{0} : count <= 0 ? 0 : (std::uint64_t{1} << count) - 1;
}

/// What each query of a tile sees of the keys.
template <typename T>
struct Sight {
  const CachedAttentionArgs<T>& args;
  const Tile& tile;
  const Ancestors& ancestors;
  int past;
  int total;

  /// Whether a query of the tile sees key `base`, `base` + 1 …: a bit each.
  [[nodiscard]] __device__ std::uint64_t seen(int query, int base) const {
    if (query >= tile.count) {
      return 0;
    }
    if (args.tree_parents != nullptr) {
      return (ones(past - base) | ancestors.seen(query, base - past)) & ones(total - base);
    }
    const int upto = past + tile.first + query + 1 - base;
    const auto window = static_cast<int>(args.rules.window);  // of chains only
    return ones(upto) & ~(window == 0 ? 0 : ones(upto - window));
  }

  /// Whether no one of 16 queries sees one of `count` keys; `own`: the first of them.
  [[nodiscard]] __device__ bool nobody_sees(int own, int base, int count) const {
    const auto window = static_cast<int>(args.rules.window);
    return own >= tile.count || base >= total ||
           (args.tree_parents == nullptr && base > past + tile.first + own + kQueriesOfWarp - 1) ||
           (window > 0 && base + count - 1 + window <= past + tile.first + own);
  }

  /// Whether they all see all of them.
  [[nodiscard]] __device__ bool all_see(int base, int count) const {
    return base + count <= past && args.rules.window == 0;
  }
};

}  // namespace kvcache::kernels::query_tile
