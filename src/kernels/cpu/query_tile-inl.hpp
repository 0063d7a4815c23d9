// Attention of a tile of queries: prefill, trees and long extensions, bound by arithmetic.
//
// Queries lie along the SIMD lanes. Then a key or value enters as a broadcast scalar straight from
// the cache, whatever head_dim is, and maxima and sums of the softmax need no horizontal step. The
// softmax is the online one of FlashAttention (Dao et al. 2022, arXiv:2205.14135): one pass over
// the keys, what was summed before is rescaled when a larger score turns up.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_QUERY_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_QUERY_TILE_INL_HPP_
#undef KVCACHE_KERNELS_QUERY_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_QUERY_TILE_INL_HPP_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/matrix_tile-inl.hpp"
#include "kernels/cpu/quantized_vectors-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kTileQueries = kTileColumns;
inline constexpr std::int64_t kTileKeys = 64;

// A finite "minus infinity": a query that has seen only masked keys so far then carries weights of
// exp(0), which the first permitted key wipes out (its rescaling factor is exp(kMasked − score) =
// 0). A true −inf would make NaN of −inf − −inf.
inline constexpr float kMasked = -1e30F;

/// The scratch of one tile; every matrix has kTileQueries columns, one per query.
struct TileScratch {
  float* queries;    // [head_dim][queries], scaled
  float* scores;     // [kTileKeys][queries]
  float* bias;       // [kTileKeys][queries], 0 or kMasked
  float* out;        // [head_dim][queries], not yet divided by `sum`
  float* max;        // [queries]
  float* sum;        // [queries]
  float* rescale;    // [queries]
  float* converted;  // [kTileKeys, head_dim], one run of a narrower cache
};

/// The tile's queries among the new tokens of their row, and which of those they see.
struct NewTokens {
  std::int64_t begin;        // position of the row's first new token
  std::int64_t first_query;  // index among the new tokens of the tile's first query
  std::int64_t num_queries;
  const std::int32_t* tree_parents;  // [row's new tokens], or null: a chain

  /// Positions of all new tokens that any query of the tile may see.
  [[nodiscard]] PositionRange range() const { return {begin, begin + first_query + num_queries}; }

  [[nodiscard]] bool all_see(PositionRange keys) const {
    return tree_parents == nullptr && keys.end <= begin + first_query + 1;
  }

  /// bias[key][query] = 0 where the query may attend to the new token at the key's position, else
  /// kMasked.
  void fill_bias(PositionRange keys, float* bias) const {
    const std::int64_t first_key = keys.begin - begin;
    const std::int64_t end_key = keys.end - begin;
    std::fill_n(bias, (end_key - first_key) * kTileQueries, kMasked);
    if (tree_parents == nullptr) {
      for (std::int64_t key = first_key; key < end_key; ++key) {
        const std::int64_t seeing = std::clamp<std::int64_t>(key - first_query, 0, kTileQueries);
        float* row = bias + (key - first_key) * kTileQueries;
        std::fill(row + seeing, row + kTileQueries, 0.0F);
      }
      return;
    }
    for (std::int64_t q = 0; q < num_queries; ++q) {
      for (std::int64_t node = first_query + q; node >= first_key; node = tree_parents[node]) {
        if (node < end_key) {
          bias[(node - first_key) * kTileQueries + q] = 0.0F;
        }
      }
    }
  }
};

/// Scores of the tile's keys to probabilities relative to the largest score so far; keeps max and
/// sum, and leaves in `rescale` what earlier sums must be multiplied by.
HWY_INLINE void update_softmax(std::int64_t keys, std::int64_t queries, bool masked,
                               const TileScratch& tile) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t q = 0; q < queries; q += lanes) {
    const auto old_max = hn::LoadU(d, tile.max + q);
    auto max = old_max;
    for (std::int64_t k = 0; k < keys; ++k) {
      float* score_at = tile.scores + k * kTileQueries + q;
      auto score = hn::LoadU(d, score_at);
      if (masked) {
        score = hn::Add(score, hn::LoadU(d, tile.bias + k * kTileQueries + q));
        hn::StoreU(score, d, score_at);
      }
      max = hn::Max(max, score);
    }
    const auto rescale = hn::Exp(d, hn::Sub(old_max, max));
    auto sum = hn::Mul(rescale, hn::LoadU(d, tile.sum + q));
    for (std::int64_t k = 0; k < keys; ++k) {
      float* score_at = tile.scores + k * kTileQueries + q;
      const auto p = hn::Exp(d, hn::Sub(hn::LoadU(d, score_at), max));
      hn::StoreU(p, d, score_at);
      sum = hn::Add(sum, p);
    }
    hn::StoreU(max, d, tile.max + q);
    hn::StoreU(sum, d, tile.sum + q);
    hn::StoreU(rescale, d, tile.rescale + q);
  }
}

/// Softmax attention of the tile's queries over the past, positions [0, past_length), and over the
/// new tokens they may see.
///
/// tile.queries holds the scaled queries, columns past num_queries zero. The result is in tile.out,
/// still to be divided by tile.sum.
template <typename T>
HWY_INLINE void attend_query_tile(const KvView<T>& keys, const KvView<T>& values,
                                  std::int64_t past_length, const NewTokens& new_tokens,
                                  const TileScratch& tile) {
  const std::int64_t head_dim = keys.head_dim;
  const std::int64_t queries = whole_vectors(new_tokens.num_queries);
  std::fill_n(tile.out, head_dim * kTileQueries, 0.0F);
  std::fill_n(tile.sum, kTileQueries, 0.0F);
  std::fill_n(tile.max, kTileQueries, kMasked);
  float ones[kTileQueries];
  std::fill_n(ones, kTileQueries, 1.0F);

  const auto attend = [&](PositionRange range, bool masked) {
    keys.for_each_run(range, [&](const T* rows, std::int64_t count, std::int64_t first) {
      multiply(LeftMatrix{vectors_as_float(keys, rows, count, tile.converted), head_dim, 1}, count,
               head_dim, tile.queries, nullptr, tile.scores + first * kTileQueries, queries);
    });
    update_softmax(range.end - range.begin, queries, masked, tile);
    values.for_each_run(range, [&](const T* rows, std::int64_t count, std::int64_t first) {
      multiply(LeftMatrix{vectors_as_float(values, rows, count, tile.converted), 1, head_dim},
               head_dim, count, tile.scores + first * kTileQueries,
               first == 0 ? tile.rescale : ones, tile.out, queries);
    });
  };
  for (std::int64_t begin = 0; begin < past_length; begin += kTileKeys) {
    attend({begin, std::min(begin + kTileKeys, past_length)}, false);
  }
  const PositionRange visible = new_tokens.range();
  for (std::int64_t begin = visible.begin; begin < visible.end; begin += kTileKeys) {
    const PositionRange range{begin, std::min(begin + kTileKeys, visible.end)};
    const bool masked = !new_tokens.all_see(range);
    if (masked) {
      new_tokens.fill_bias(range, tile.bias);
    }
    attend(range, masked);
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
