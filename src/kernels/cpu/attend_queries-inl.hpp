// Attention of a few queries: what decoding spends its attention time in. Keys lie along the lanes,
// so that heads of any size fill the vectors.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ATTEND_QUERIES_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ATTEND_QUERIES_INL_HPP_
#undef KVCACHE_KERNELS_ATTEND_QUERIES_INL_HPP_
#else
#define KVCACHE_KERNELS_ATTEND_QUERIES_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/ordered_dots-inl.hpp"
#include "kernels/cpu/ordered_softmax-inl.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/quantized_vectors-inl.hpp"
#include "kernels/cpu/soft_cap-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// What a few queries, one after the other in their row, see of one head.
struct VisibleTokens {
  std::int64_t begin;        // the first position that any of them sees: 0 but for windows
  std::int64_t shared;       // positions up to here are in order, and all of them see what is in
                             // their windows
  PositionRange added;       // positions of new tokens that any of them sees beside those
  std::int64_t first_added;  // index among the row's new tokens of the one at added.begin

  /// The position of the first score: a softmax's sums go by positions modulo the lanes.
  [[nodiscard]] std::int64_t first_slot() const { return begin - begin % kLanes; }
};

/// What one query sees behind the shared positions.
struct SeenTokens {
  std::vector<PositionRange> ranges;  // of new tokens, in the order of the text
  std::int64_t begin;                 // the first position of the text that it sees
};

/// Scratch of a few queries.
struct QueryScratch {
  float* patterns;  // [queries][pattern_floats(head_dim)]
  float* scores;    // [queries][score_stride]: positions from first_slot() on, and a vector more
  std::int64_t score_stride;
  float* fresh;  // [queries][fresh_stride]: scores of `added`, and a vector more
  std::int64_t fresh_stride;
  float* even;  // [queries][head_dim, whole vectors]
  float* odd;   // the same
};

/// Turns scores into exp(score − largest) in place; returns their sum. The vector behind them may
/// be written to.
HWY_INLINE float exponentiate(float* HWY_RESTRICT scores, std::int64_t count) {
  const Floats d;
  const std::int64_t whole = count - count % kLanes;
  const auto valid = hn::FirstN(d, static_cast<std::size_t>(count - whole));
  auto maxima = hn::Set(d, scores[0]);
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    maxima = hn::Max(maxima, hn::LoadU(d, scores + i));
  }
  if (whole < count) {
    maxima = hn::Max(maxima, hn::IfThenElse(valid, hn::LoadU(d, scores + whole), maxima));
  }
  const auto largest = hn::MaxOfLanes(d, maxima);
  auto sums = hn::Zero(d);
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    const auto p = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), largest));
    hn::StoreU(p, d, scores + i);
    sums = hn::Add(sums, p);
  }
  if (whole < count) {
    const auto p =
        hn::IfThenElseZero(valid, hn::Exp(d, hn::Sub(hn::LoadU(d, scores + whole), largest)));
    hn::StoreU(p, d, scores + whole);
    sums = hn::Add(sums, p);
  }
  HWY_ALIGN float slots[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(sums, d, slots);
  halve(slots);
  return slots[0];
}

/// The weights of a few queries, and their sums over even and odd positions.
struct WeightedSums {
  const float* weights;  // of the first query, for the first row
  std::int64_t weight_stride;
  float* first;   // of the first query: the sums that the first row belongs to
  float* second;  // those of the row after it
  std::int64_t sum_stride;
};

/// Adds weights[i] · rows[i] to each query's sums, over kVectors vectors of columns; of the last
/// vector only `last_lanes` lanes where kPartial.
template <int kQueries, int kVectors, bool kPartial, typename T>
HWY_INLINE void add_weighted_columns(const WeightedSums& to, const T* HWY_RESTRICT rows,
                                     std::int64_t stride, std::int64_t count,
                                     std::int64_t last_lanes, std::int64_t column) {
  const Floats d;
  const auto load = [&](const auto* from, int v) HWY_ATTR {
    return kPartial && v + 1 == kVectors ? load_first_float32(d, from + v * kLanes, last_lanes)
                                         : load_float32(d, from + v * kLanes);
  };
  FloatVector sums[2][kQueries][kVectors];
  for (int q = 0; q < kQueries; ++q) {
    for (int v = 0; v < kVectors; ++v) {  // they have whole vectors
      const std::int64_t at = q * to.sum_stride + column + v * kLanes;
      sums[0][q][v] = hn::LoadU(d, to.first + at);
      sums[1][q][v] = hn::LoadU(d, to.second + at);
    }
  }
  const auto add_row = [&](int parity, std::int64_t row) HWY_ATTR {
    FloatVector values[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      values[v] = load(rows + row * stride + column, v);
    }
    for (int q = 0; q < kQueries; ++q) {
      const auto weight = hn::Set(d, to.weights[q * to.weight_stride + row]);
      for (int v = 0; v < kVectors; ++v) {
        sums[parity][q][v] = hn::MulAdd(weight, values[v], sums[parity][q][v]);
      }
    }
  };
  std::int64_t row = 0;
  for (; row + 2 <= count; row += 2) {
    add_row(0, row);
    add_row(1, row + 1);
  }
  if (row < count) {
    add_row(0, row);
  }
  for (int q = 0; q < kQueries; ++q) {
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t at = q * to.sum_stride + column + v * kLanes;
      hn::StoreU(sums[0][q][v], d, to.first + at);
      hn::StoreU(sums[1][q][v], d, to.second + at);
    }
  }
}

#if HWY_MAX_BYTES == 64
/// The same of rows of half a vector: one register has both sums, those that rows[0], rows[2], …
/// belong to in its lower half.
template <int kQueries, typename T>
HWY_INLINE void add_weighted_halves(const WeightedSums& to, const T* HWY_RESTRICT rows,
                                    std::int64_t stride, std::int64_t count) {
  const Floats d;
  const hn::Half<Floats> half;
  FloatVector sums[kQueries];
  for (int q = 0; q < kQueries; ++q) {
    sums[q] = hn::Combine(d, hn::LoadU(half, to.second + q * to.sum_stride),
                          hn::LoadU(half, to.first + q * to.sum_stride));
  }
  for (std::int64_t row = 0; row < count; row += 2) {
    const auto values = load_two_rows(rows + row * stride, stride, count - row);
    for (int q = 0; q < kQueries; ++q) {
      const float* const weights = to.weights + q * to.weight_stride + row;
      const auto upper = row + 1 < count ? hn::Set(half, weights[1]) : hn::Zero(half);
      sums[q] = hn::MulAdd(hn::Combine(d, upper, hn::Set(half, weights[0])), values, sums[q]);
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    hn::StoreU(hn::LowerHalf(half, sums[q]), half, to.first + q * to.sum_stride);
    hn::StoreU(hn::UpperHalf(half, sums[q]), half, to.second + q * to.sum_stride);
  }
}
#endif

/// Adds weights[i] · rows[i] for `count` rows of `size` to each query's sums.
template <int kQueries, typename T>
HWY_INLINE void add_weighted_rows(const WeightedSums& to, const T* HWY_RESTRICT rows,
                                  std::int64_t count, std::int64_t size) {
  const std::int64_t stride = size + kScaleElements<T>;
#if HWY_MAX_BYTES == 64
  if (half_a_vector(size)) {
    add_weighted_halves<kQueries>(to, rows, stride, count);
    return;
  }
#endif
  constexpr int kVectors = kQueries == 1 ? 4 : 1;
  std::int64_t i = 0;
  for (; i + kVectors * kLanes <= size; i += kVectors * kLanes) {
    add_weighted_columns<kQueries, kVectors, false>(to, rows, stride, count, 0, i);
  }
  for (; i + kLanes <= size; i += kLanes) {
    add_weighted_columns<kQueries, 1, false>(to, rows, stride, count, 0, i);
  }
  if (i < size) {
    add_weighted_columns<kQueries, 1, true>(to, rows, stride, count, size - i, i);
  }
}

/// Scores of kQueries queries for the positions of `range`, one after the other.
template <int kQueries, typename T>
HWY_NOINLINE void score_positions(const KvView<T>& keys, PositionRange range, const T* then,
                                  const float* patterns, float* scores, std::int64_t score_stride) {
  const Floats d;
  const std::int64_t size = keys.head_dim;
  const std::int64_t stride = keys.vector_elements();
  keys.for_each_piece(
      range, then,
      [&](const T* rows, std::int64_t count, std::int64_t first, const Ahead<T>& ahead) HWY_ATTR {
        for (std::int64_t row = 0; row < count; row += kLanes) {
          const std::int64_t some = std::min(count - row, kLanes);
          Ahead<T>{ahead.data + row * stride, some * stride}.fetch_to_second_level(0);
          FloatVector products[kQueries];
          dot_vector_of_rows<kQueries>(patterns, size, rows + row * stride, stride, some, products);
          for (int q = 0; q < kQueries; ++q) {  // what follows overwrites the lanes behind
            hn::StoreU(products[q], d, scores + q * score_stride + first + row);
          }
        }
        for (int q = 0; q < kQueries; ++q) {
          multiply_by_scales(rows, count, size, scores + q * score_stride + first);
        }
      });
}

/// Adds the values at the positions of `range`, the first of which is at `text_position` in the
/// text of kQueries queries; `weights` are the first query's for it.
template <int kQueries, typename T>
HWY_NOINLINE void add_values(const KvView<T>& values, PositionRange range, const T* then,
                             std::int64_t text_position, float* weights, std::int64_t weight_stride,
                             float* even, float* odd, std::int64_t sum_stride) {
  const std::int64_t size = values.head_dim;
  values.for_each_piece(
      range, then,
      [&](const T* rows, std::int64_t count, std::int64_t first, const Ahead<T>& ahead) HWY_ATTR {
        for (std::int64_t row = 0; row < count; ++row) {
          ahead.fetch_to_second_level(row);
        }
        for (int q = 0; q < kQueries; ++q) {
          multiply_by_scales(rows, count, size, weights + q * weight_stride + first);
        }
        const bool is_odd = (text_position + first) % 2 != 0;
        add_weighted_rows<kQueries>({.weights = weights + first,
                                     .weight_stride = weight_stride,
                                     .first = is_odd ? odd : even,
                                     .second = is_odd ? even : odd,
                                     .sum_stride = sum_stride},
                                    rows, count, size);
      });
}

/// Softmax attention of kQueries queries that follow each other in one row.
///
/// queries: float32 [kQueries][query_stride], scaled already. Results are in scratch.even,
/// [head_dim] of each query, sum_stride apart.
template <int kQueries, typename T>
HWY_NOINLINE void attend_queries(const float* queries, std::int64_t query_stride,
                                 const KvView<T>& keys, const KvView<T>& values,
                                 const VisibleTokens& visible, const SeenTokens (&seen)[kQueries],
                                 float cap, const QueryScratch& scratch) {
  constexpr float kUnseen = -std::numeric_limits<float>::infinity();
  const std::int64_t size = keys.head_dim;
  const std::int64_t sum_stride = round_up(size, kLanes);
  for (int q = 0; q < kQueries; ++q) {
    make_patterns(queries + q * query_stride, size, scratch.patterns + q * pattern_floats(size));
  }
  const PositionRange shared{visible.begin, visible.shared};
  const std::int64_t first_slot = visible.first_slot();
  float* const shared_scores = scratch.scores + visible.begin - first_slot;
  score_positions<kQueries>(keys, shared, values.at(shared.begin), scratch.patterns, shared_scores,
                            scratch.score_stride);
  if (visible.added.begin < visible.added.end) {
    score_positions<kQueries>(keys, visible.added, values.at(0), scratch.patterns, scratch.fresh,
                              scratch.fresh_stride);
  }
  float inverses[kQueries];
  for (int q = 0; q < kQueries; ++q) {
    float* const scores = scratch.scores + q * scratch.score_stride;
    std::int64_t total = visible.shared - first_slot;
    for (const PositionRange range : seen[q].ranges) {
      const float* const from =
          scratch.fresh + q * scratch.fresh_stride + range.begin - visible.added.begin;
      std::copy_n(from, range.end - range.begin, scores + total);
      total += range.end - range.begin;
    }
    if (cap > 0) {
      const std::int64_t before = visible.begin - first_slot;
      soft_cap(scores + before, total - before, cap);
    }
    std::fill(scores, scores + seen[q].begin - first_slot, kUnseen);
    inverses[q] = 1.0F / exponentiate(scores, total);
  }

  std::fill_n(scratch.even, kQueries * sum_stride, 0.0F);
  std::fill_n(scratch.odd, kQueries * sum_stride, 0.0F);
  if (shared.begin < shared.end) {
    add_values<kQueries>(values, shared, values.at(shared.end - 1), shared.begin, shared_scores,
                         scratch.score_stride, scratch.even, scratch.odd, sum_stride);
  }
  for (int q = 0; q < kQueries; ++q) {
    float* const even = scratch.even + q * sum_stride;
    float* const odd = scratch.odd + q * sum_stride;
    float* const weights = scratch.scores + q * scratch.score_stride - first_slot;
    std::int64_t position = visible.shared;  // of the text
    for (PositionRange range : seen[q].ranges) {
      const std::int64_t end = position + range.end - range.begin;
      const std::int64_t unseen = std::max<std::int64_t>(seen[q].begin - position, 0);
      if (position + unseen < end) {
        range.begin += unseen;
        position += unseen;
        add_values<1>(values, range, values.at(range.begin), position, weights + position, 0, even,
                      odd, 0);
      }
      position = end;
    }
    const Floats d;
    const auto inverse = hn::Set(d, inverses[q]);
    for (std::int64_t i = 0; i < size; i += kLanes) {
      const auto sum = hn::Add(hn::LoadU(d, even + i), hn::LoadU(d, odd + i));
      hn::StoreU(hn::Mul(sum, inverse), d, even + i);
    }
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
