// Attention of a tile of queries: prefill, trees and long extensions, bound by arithmetic.
//
// Queries lie along the SIMD lanes. Then a key or value enters as a broadcast scalar straight from
// the cache, whatever head_dim is, and maxima and sums of the softmax need no horizontal step. The
// scores of all keys are kept until their largest is known: rescaling what was summed before (as
// FlashAttention does, Dao et al. 2022, arXiv:2205.14135) would make a sum depend on where it was
// cut.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ATTEND_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ATTEND_TILE_INL_HPP_
#undef KVCACHE_KERNELS_ATTEND_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_ATTEND_TILE_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/new_tokens.hpp"
#include "kernels/cpu/ordered_softmax-inl.hpp"
#include "kernels/cpu/ordered_tile-inl.hpp"
#include "kernels/cpu/quantized_vectors-inl.hpp"
#include "kernels/cpu/soft_cap-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kTileQueries = 64;
inline constexpr std::int64_t kTileKeys = 64;

/// The scratch of one tile; every matrix has `columns` columns, one per query.
struct TileScratch {
  std::int64_t columns;  // whole vectors
  float* queries;        // [head_dim][columns], scaled; columns behind the queries are zero
  float* scores;         // [NewTokens::positions()][columns]
  float* slots;          // [kLanes][columns]
  float* even;           // [head_dim][columns]
  float* odd;            // [head_dim][columns]
  float* converted;      // [kTileKeys, head_dim], a piece of a narrower cache
};

/// What weighs the values of `tokens` positions that follow each other in memory: calls
/// use(first, count, text position of the first) for runs that follow each other in the text, too.
template <typename Use>
HWY_INLINE void for_each_text_run(const NewTokens& of, std::int64_t first, std::int64_t tokens,
                                  const Use& use) {
  for (std::int64_t done = 0; done < tokens;) {
    const std::int64_t position = of.text_position(first + done);
    std::int64_t count = 1;
    while (done + count < tokens && of.text_position(first + done + count) == position + count) {
      ++count;
    }
    use(done, count, position);
    done += count;
  }
}

/// Scores to exp(score − largest) in place, and their sums' inverse into slots[0].
template <typename TextPosition>
HWY_INLINE void exponentiate_tile(const TileScratch& tile, std::int64_t positions,
                                  const TextPosition& text_position) {
  const Floats d;
  const std::int64_t columns = tile.columns;
  std::fill_n(tile.slots, kLanes * columns, 0.0F);
  for (std::int64_t q = 0; q < columns; q += kLanes) {
    auto largest = hn::LoadU(d, tile.scores + q);
    for (std::int64_t i = 1; i < positions; ++i) {
      largest = hn::Max(largest, hn::LoadU(d, tile.scores + i * columns + q));
    }
    for (std::int64_t i = 0; i < positions; ++i) {
      float* const score = tile.scores + i * columns + q;
      float* const slot = tile.slots + text_position(i) % kLanes * columns + q;
      const auto p = hn::Exp(d, hn::Sub(hn::LoadU(d, score), largest));
      hn::StoreU(p, d, score);
      hn::StoreU(hn::Add(hn::LoadU(d, slot), p), d, slot);
    }
  }
  halve_rows(tile.slots, columns, columns);
  for (std::int64_t q = 0; q < columns; q += kLanes) {
    hn::StoreU(hn::Div(hn::Set(d, 1.0F), hn::LoadU(d, tile.slots + q)), d, tile.slots + q);
  }
}

// Elements of the values and vectors of queries at a time: their sums stay in registers, of even
// and of odd positions.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
inline constexpr int kValueElements = 4;
#else
inline constexpr int kValueElements = 2;
#endif

/// first[i][q] += Σ weights[k][q] · values[k][i] for k = 0, 2, …, and second[i][q] for k = 1, 3, …
template <int kElements, int kVectors>
HWY_INLINE void add_weighted_elements(const float* HWY_RESTRICT values, std::int64_t stride,
                                      std::int64_t count, const float* HWY_RESTRICT weights,
                                      std::int64_t columns, float* HWY_RESTRICT first,
                                      float* HWY_RESTRICT second) {
  const Floats d;
  FloatVector sums[2][kElements][kVectors];
  for (int i = 0; i < kElements; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      sums[0][i][v] = hn::LoadU(d, first + i * columns + v * kLanes);
      sums[1][i][v] = hn::LoadU(d, second + i * columns + v * kLanes);
    }
  }
  const auto add_position = [&](int parity, std::int64_t k) HWY_ATTR {
    FloatVector weight[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      weight[v] = hn::LoadU(d, weights + k * columns + v * kLanes);
    }
    for (int i = 0; i < kElements; ++i) {
      const auto value = hn::Set(d, values[k * stride + i]);
      for (int v = 0; v < kVectors; ++v) {
        sums[parity][i][v] = hn::MulAdd(weight[v], value, sums[parity][i][v]);
      }
    }
  };
  std::int64_t k = 0;
  for (; k + 2 <= count; k += 2) {
    add_position(0, k);
    add_position(1, k + 1);
  }
  if (k < count) {
    add_position(0, k);
  }
  for (int i = 0; i < kElements; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[0][i][v], d, first + i * columns + v * kLanes);
      hn::StoreU(sums[1][i][v], d, second + i * columns + v * kLanes);
    }
  }
}

template <int kVectors>
HWY_INLINE void add_weighted_vectors(const float* values, std::int64_t size, std::int64_t count,
                                     const float* weights, std::int64_t columns, float* first,
                                     float* second) {
  constexpr int kElements = 2 * kValueElements / kVectors;
  std::int64_t i = 0;
  for (; i + kElements <= size; i += kElements) {
    add_weighted_elements<kElements, kVectors>(values + i, size, count, weights, columns,
                                               first + i * columns, second + i * columns);
  }
  for (; i < size; ++i) {
    add_weighted_elements<1, kVectors>(values + i, size, count, weights, columns,
                                       first + i * columns, second + i * columns);
  }
}

/// Adds the values of positions that follow each other in the text from `position` on, weighted.
inline HWY_NOINLINE void add_weighted_values(const float* values, std::int64_t size,
                                             std::int64_t count, const float* weights,
                                             std::int64_t position, const TileScratch& tile) {
  const std::int64_t columns = tile.columns;
  float* const first = position % 2 == 0 ? tile.even : tile.odd;
  float* const second = position % 2 == 0 ? tile.odd : tile.even;
  std::int64_t q = 0;
  for (; q + 2 * kLanes <= columns; q += 2 * kLanes) {
    add_weighted_vectors<2>(values, size, count, weights + q, columns, first + q, second + q);
  }
  if (q < columns) {
    add_weighted_vectors<1>(values, size, count, weights + q, columns, first + q, second + q);
  }
}

/// Multiplies row i of a matrix by the scale of vector i, where vectors have one.
template <typename T>
HWY_INLINE void multiply_rows_by_scales(const T* vectors, std::int64_t count, std::int64_t size,
                                        float* HWY_RESTRICT rows, std::int64_t columns) {
  if constexpr (kScaleElements < T >> 0) {
    const Floats d;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto scale = hn::Set(d, scale_of(vectors + i * (size + kScaleElements<T>), size));
      for (std::int64_t q = 0; q < columns; q += kLanes) {
        float* const at = rows + i * columns + q;
        hn::StoreU(hn::Mul(hn::LoadU(d, at), scale), d, at);
      }
    }
  }
}

/// Softmax attention of the tile's queries over the past and over the new tokens they may see.
/// Query q's result is element i · columns + q of tile.even.
template <typename T>
HWY_NOINLINE void attend_tile(const KvView<T>& keys, const KvView<T>& values, const NewTokens& of,
                              float cap, const TileScratch& tile) {
  const Floats d;
  const std::int64_t size = keys.head_dim;
  const std::int64_t columns = tile.columns;
  const PositionRange past{of.past_begin, of.past_length};
  const PositionRange added{of.begin + of.first_token, of.begin + of.visible()};
  const std::int64_t past_size = of.past_length - of.past_begin;
  float* const added_scores = tile.scores + past_size * columns;

  const auto score = [&](PositionRange range, float* scores) HWY_ATTR {
    keys.for_each_run(range, [&](const T* rows, std::int64_t count, std::int64_t first) HWY_ATTR {
      for (std::int64_t row = 0; row < count; row += kTileKeys) {
        const std::int64_t piece = std::min(count - row, kTileKeys);
        const T* const vectors = rows + row * keys.vector_elements();
        float* const out = scores + (first + row) * columns;
        dot_queries(vectors_as_float(keys, vectors, piece, tile.converted), size, piece, size,
                    tile.queries, columns, out, columns, columns);
        multiply_rows_by_scales(vectors, piece, size, out, columns);
      }
    });
  };
  score(past, tile.scores);
  score(added, added_scores);
  if (cap > 0) {
    soft_cap(tile.scores, of.positions() * columns, cap);
  }
  of.mask(tile.scores, columns);
  exponentiate_tile(tile, of.positions(), [&](std::int64_t i) {
    return i < past_size ? of.past_begin + i : of.text_position(of.first_token + i - past_size);
  });

  std::fill_n(tile.even, size * columns, 0.0F);
  std::fill_n(tile.odd, size * columns, 0.0F);
  const auto weigh = [&](PositionRange range, float* weights, bool in_past) HWY_ATTR {
    values.for_each_run(range, [&](const T* rows, std::int64_t count, std::int64_t first) HWY_ATTR {
      for (std::int64_t row = 0; row < count; row += kTileKeys) {
        const std::int64_t piece = std::min(count - row, kTileKeys);
        const T* const vectors = rows + row * values.vector_elements();
        float* const of_piece = weights + (first + row) * columns;
        const float* const floats = vectors_as_float(values, vectors, piece, tile.converted);
        multiply_rows_by_scales(vectors, piece, size, of_piece, columns);
        if (in_past) {
          add_weighted_values(floats, size, piece, of_piece, of.past_begin + first + row, tile);
          continue;
        }
        for_each_text_run(of, of.first_token + first + row, piece,
                          [&](std::int64_t done, std::int64_t run, std::int64_t position) HWY_ATTR {
                            add_weighted_values(floats + done * size, size, run,
                                                of_piece + done * columns, position, tile);
                          });
      }
    });
  };
  weigh(past, tile.scores, true);
  weigh(added, added_scores, false);
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t q = 0; q < columns; q += kLanes) {
      float* const even = tile.even + i * columns + q;
      const auto sum = hn::Add(hn::LoadU(d, even), hn::LoadU(d, tile.odd + i * columns + q));
      hn::StoreU(hn::Mul(sum, hn::LoadU(d, tile.slots + q)), d, even);
    }
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
