// Attention of one query: what decoding spends its attention time in, bound by reading K and V
// once.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_SINGLE_QUERY_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_SINGLE_QUERY_INL_HPP_
#undef KVCACHE_KERNELS_SINGLE_QUERY_INL_HPP_
#else
#define KVCACHE_KERNELS_SINGLE_QUERY_INL_HPP_
#endif

#include <span>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/cpu/dot_rows-inl.hpp"
#include "kernels/cpu/half_vectors-inl.hpp"
#include "kernels/cpu/kv_view-inl.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/quantized_vectors-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Turns scores into unnormalised probabilities exp(score − max) in place; returns their sum.
HWY_INLINE float exponentiate(float* HWY_RESTRICT scores, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t whole = count - count % lanes;
  const std::int64_t left = count - whole;
  const auto valid = hn::FirstN(d, static_cast<std::size_t>(left));

  auto maxima = hn::Set(d, scores[0]);
  for (std::int64_t i = 0; i < whole; i += lanes) {
    maxima = hn::Max(maxima, hn::LoadU(d, scores + i));
  }
  if (left > 0) {
    const auto last = load_first(d, scores + whole, left);
    maxima = hn::Max(maxima, hn::IfThenElse(valid, last, maxima));
  }
  const auto max = hn::MaxOfLanes(d, maxima);

  auto sums = hn::Zero(d);
  for (std::int64_t i = 0; i < whole; i += lanes) {
    const auto p = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), max));
    hn::StoreU(p, d, scores + i);
    sums = hn::Add(sums, p);
  }
  if (left > 0) {
    const auto p = hn::Exp(d, hn::Sub(load_first(d, scores + whole, left), max));
    store_first(p, d, scores + whole, left);
    sums = hn::Add(sums, hn::IfThenElseZero(valid, p));
  }
  return hn::GetLane(hn::SumOfLanes(d, sums));
}

/// out[…] += Σ weights[i] · rows[i] over kVectors vectors of columns; of the last vector only
/// `last_lanes` lanes when kPartial.
template <int kVectors, bool kPartial, typename T, typename Next>
HWY_INLINE void add_weighted_columns(const float* HWY_RESTRICT weights, const T* HWY_RESTRICT rows,
                                     std::int64_t count, std::int64_t head_dim,
                                     std::int64_t last_lanes, float* HWY_RESTRICT out,
                                     const Next& ahead) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t stride = head_dim + kScaleElements<T>;
  const auto load = [&](const auto* from, int v) {
    return kPartial && v + 1 == kVectors ? load_first_float32(d, from + v * lanes, last_lanes)
                                         : load_float32(d, from + v * lanes);
  };
  // Two sets of sums, of even and of odd rows, so that additions overlap.
  hn::Vec<decltype(d)> even[kVectors];
  hn::Vec<decltype(d)> odd[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    even[v] = load(out, v);
    odd[v] = hn::Zero(d);
  }
  std::int64_t row = 0;
  for (; row + 2 <= count; row += 2) {
    ahead.fetch_to_second_level(row);
    ahead.fetch_to_second_level(row + 1);
    const auto w0 = hn::Set(d, weights[row]);
    const auto w1 = hn::Set(d, weights[row + 1]);
    const T* r0 = rows + row * stride;
    const T* r1 = r0 + stride;
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w0, load(r0, v), even[v]);
      odd[v] = hn::MulAdd(w1, load(r1, v), odd[v]);
    }
  }
  if (row < count) {
    ahead.fetch_to_second_level(row);
    const auto w0 = hn::Set(d, weights[row]);
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w0, load(rows + row * stride, v), even[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const auto sum = hn::Add(even[v], odd[v]);
    if (kPartial && v + 1 == kVectors) {
      store_first(sum, d, out + v * lanes, last_lanes);
    } else {
      hn::StoreU(sum, d, out + v * lanes);
    }
  }
}

/// out += Σ weights[i] · rows[i] for `count` rows of `head_dim`; fetches a row ahead with each.
template <typename T>
HWY_INLINE void add_weighted_rows(const float* HWY_RESTRICT weights, const T* HWY_RESTRICT rows,
                                  std::int64_t count, std::int64_t head_dim,
                                  float* HWY_RESTRICT out, const Ahead<T>& ahead) {
  if (fill_half<T>(head_dim)) {
    add_weighted_halves(weights, rows, count, out, ahead);
    return;
  }
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  if (head_dim >= 4 * lanes) {
    add_weighted_columns<4, false>(weights, rows, count, head_dim, 0, out, ahead);
    i = 4 * lanes;
  }
  const NothingAhead fetched;  // by the columns before
  for (; i + 4 * lanes <= head_dim; i += 4 * lanes) {
    add_weighted_columns<4, false>(weights, rows + i, count, head_dim, 0, out + i, fetched);
  }
  for (; i + lanes <= head_dim; i += lanes) {
    add_weighted_columns<1, false>(weights, rows + i, count, head_dim, 0, out + i, fetched);
  }
  if (i < head_dim) {
    add_weighted_columns<1, true>(weights, rows + i, count, head_dim, head_dim - i, out + i,
                                  fetched);
  }
}

/// Softmax attention of one query over the positions in `visible`.
///
/// query: float32 [head_dim], scaled already. out: float32 [head_dim], overwritten.
/// scores: scratch, one float per visible position.
template <typename T>
HWY_INLINE void attend_single_query(const float* query, const KvView<T>& keys,
                                    const KvView<T>& values, std::span<const PositionRange> visible,
                                    float* scores, float* out) {
  std::int64_t total = 0;
  for (const PositionRange range : visible) {
    keys.for_each_piece(
        range, values.at(range.begin),
        [&](const T* rows, std::int64_t count, std::int64_t first, const Ahead<T>& ahead) {
          if (fill_half<T>(keys.head_dim)) {
            dot_halves(query, rows, count, keys.head_dim, scores + total + first, ahead);
          } else {
            dot_rows(query, rows, count, keys.head_dim, scores + total + first, ahead);
          }
          multiply_by_scales(rows, count, keys.head_dim, scores + total + first);
        });
    total += range.end - range.begin;
  }
  const float normaliser = 1.0F / exponentiate(scores, total);

  std::fill_n(out, values.head_dim, 0.0F);
  std::int64_t done = 0;
  for (const PositionRange range : visible) {
    values.for_each_piece(
        range, values.at(range.end - 1),
        [&](const T* rows, std::int64_t count, std::int64_t first, const Ahead<T>& ahead) {
          multiply_by_scales(rows, count, values.head_dim, scores + done + first);
          add_weighted_rows(scores + done + first, rows, count, values.head_dim, out, ahead);
        });
    done += range.end - range.begin;
  }
  std::transform(out, out + values.head_dim, out, [&](float sum) { return sum * normaliser; });
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
