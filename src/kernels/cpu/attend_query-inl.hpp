// Attention of one query: what decoding spends its attention time in. Keys lie along the lanes, so
// that heads of any size fill the vectors.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ATTEND_QUERY_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ATTEND_QUERY_INL_HPP_
#undef KVCACHE_KERNELS_ATTEND_QUERY_INL_HPP_
#else
#define KVCACHE_KERNELS_ATTEND_QUERY_INL_HPP_
#endif

#include <algorithm>
#include <span>

#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/ordered_dots-inl.hpp"
#include "kernels/cpu/ordered_softmax-inl.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/quantized_vectors-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Scratch of one query.
struct QueryScratch {
  float* patterns;  // [pattern_floats(head_dim)]
  float* scores;    // [visible positions, and a vector more]
  float* even;      // [head_dim]
  float* odd;       // [head_dim]
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

/// Adds weights[i] · rows[i] to the sums of even or odd positions, over kVectors vectors of
/// columns; of the last vector only `last_lanes` lanes where kPartial.
template <int kVectors, bool kPartial, typename T>
HWY_INLINE void add_weighted_columns(const float* HWY_RESTRICT weights, const T* HWY_RESTRICT rows,
                                     std::int64_t stride, std::int64_t count,
                                     std::int64_t last_lanes, float* HWY_RESTRICT first,
                                     float* HWY_RESTRICT second) {
  const Floats d;
  const auto load = [&](const auto* from, int v) HWY_ATTR {
    return kPartial && v + 1 == kVectors ? load_first_float32(d, from + v * kLanes, last_lanes)
                                         : load_float32(d, from + v * kLanes);
  };
  const auto store = [&](FloatVector sum, float* to, int v) HWY_ATTR {
    if (kPartial && v + 1 == kVectors) {
      store_first(sum, d, to + v * kLanes, last_lanes);
    } else {
      hn::StoreU(sum, d, to + v * kLanes);
    }
  };
  FloatVector sums[2][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    sums[0][v] = load(first, v);
    sums[1][v] = load(second, v);
  }
  std::int64_t row = 0;
  for (; row + 2 <= count; row += 2) {
    const auto w0 = hn::Set(d, weights[row]);
    const auto w1 = hn::Set(d, weights[row + 1]);
    const T* r0 = rows + row * stride;
    const T* r1 = r0 + stride;
    for (int v = 0; v < kVectors; ++v) {
      sums[0][v] = hn::MulAdd(w0, load(r0, v), sums[0][v]);
      sums[1][v] = hn::MulAdd(w1, load(r1, v), sums[1][v]);
    }
  }
  if (row < count) {
    const auto w0 = hn::Set(d, weights[row]);
    for (int v = 0; v < kVectors; ++v) {
      sums[0][v] = hn::MulAdd(w0, load(rows + row * stride, v), sums[0][v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    store(sums[0][v], first, v);
    store(sums[1][v], second, v);
  }
}

#if HWY_MAX_BYTES == 64
/// The same of rows of half a vector: one register has both sums, those of the positions of
/// rows[0], rows[2], … in its lower half.
template <typename T>
HWY_INLINE void add_weighted_halves(const float* HWY_RESTRICT weights, const T* HWY_RESTRICT rows,
                                    std::int64_t stride, std::int64_t count,
                                    float* HWY_RESTRICT first, float* HWY_RESTRICT second) {
  const Floats d;
  const hn::Half<Floats> half;
  auto sums = hn::Combine(d, hn::LoadU(half, second), hn::LoadU(half, first));
  for (std::int64_t row = 0; row < count; row += 2) {
    const bool both = row + 1 < count;
    const auto weight = hn::Combine(d, both ? hn::Set(half, weights[row + 1]) : hn::Zero(half),
                                    hn::Set(half, weights[row]));
    sums = hn::MulAdd(weight, load_two_rows(rows + row * stride, stride, count - row), sums);
  }
  hn::StoreU(hn::LowerHalf(half, sums), half, first);
  hn::StoreU(hn::UpperHalf(half, sums), half, second);
}
#endif

/// Adds weights[i] · rows[i] for `count` rows of `size`, the first of which has an even position
/// where `even` is the sum that it belongs to.
template <typename T>
HWY_INLINE void add_weighted_rows(const float* HWY_RESTRICT weights, const T* HWY_RESTRICT rows,
                                  std::int64_t count, std::int64_t size, float* HWY_RESTRICT first,
                                  float* HWY_RESTRICT second) {
  const std::int64_t stride = size + kScaleElements<T>;
#if HWY_MAX_BYTES == 64
  if (half_a_vector(size)) {
    add_weighted_halves(weights, rows, stride, count, first, second);
    return;
  }
#endif
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
    add_weighted_columns<4, false>(weights, rows + i, stride, count, 0, first + i, second + i);
  }
  for (; i + kLanes <= size; i += kLanes) {
    add_weighted_columns<1, false>(weights, rows + i, stride, count, 0, first + i, second + i);
  }
  if (i < size) {
    add_weighted_columns<1, true>(weights, rows + i, stride, count, size - i, first + i,
                                  second + i);
  }
}

/// Fetches the lines of the vectors that are used two pieces later.
template <typename T>
HWY_INLINE void fetch_rows(const Ahead<T>& ahead, std::int64_t count) {
  Ahead<T>{ahead.data, count * ahead.elements}.fetch_to_second_level(0);
}

/// Softmax attention of one query over the positions in `visible`, which are those of its text in
/// order.
///
/// query: float32 [head_dim], scaled already. out: float32 [head_dim], overwritten.
template <typename T>
HWY_INLINE void attend_query(const float* query, const KvView<T>& keys, const KvView<T>& values,
                             std::span<const PositionRange> visible, const QueryScratch& scratch,
                             float* out) {
  const Floats d;
  const std::int64_t size = keys.head_dim;
  make_patterns(query, size, scratch.patterns);
  std::int64_t total = 0;
  for (const PositionRange range : visible) {
    keys.for_each_piece(
        range, values.at(range.begin),
        [&](const T* rows, std::int64_t count, std::int64_t first, const Ahead<T>& ahead) HWY_ATTR {
          fetch_rows(ahead, count);
          float* const scores = scratch.scores + total + first;
          for (std::int64_t row = 0; row < count; row += kLanes) {
            FloatVector products[1];
            dot_vector_of_rows<1>(scratch.patterns, size, rows + row * keys.vector_elements(),
                                  keys.vector_elements(), std::min(count - row, kLanes), products);
            hn::StoreU(products[0], d, scores + row);  // what follows overwrites the lanes behind
          }
          multiply_by_scales(rows, count, size, scores);
        });
    total += range.end - range.begin;
  }
  const float inverse = 1.0F / exponentiate(scratch.scores, total);

  std::fill_n(scratch.even, size, 0.0F);
  std::fill_n(scratch.odd, size, 0.0F);
  std::int64_t done = 0;
  for (const PositionRange range : visible) {
    values.for_each_piece(
        range, values.at(range.end - 1),
        [&](const T* rows, std::int64_t count, std::int64_t first, const Ahead<T>& ahead) HWY_ATTR {
          fetch_rows(ahead, count);
          const std::int64_t position = done + first;
          multiply_by_scales(rows, count, size, scratch.scores + position);
          const bool is_odd = position % 2 != 0;
          add_weighted_rows(scratch.scores + position, rows, count, size,
                            is_odd ? scratch.odd : scratch.even,
                            is_odd ? scratch.even : scratch.odd);
        });
    done += range.end - range.begin;
  }
  for (std::int64_t i = 0; i < size; ++i) {
    out[i] = (scratch.even[i] + scratch.odd[i]) * inverse;
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
