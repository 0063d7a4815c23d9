// Attention of one query: what decoding spends its attention time in, bound by reading K and V once.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_OPS_SINGLE_QUERY_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_OPS_SINGLE_QUERY_INL_HPP_
#undef KVCACHE_OPS_SINGLE_QUERY_INL_HPP_
#else
#define KVCACHE_OPS_SINGLE_QUERY_INL_HPP_
#endif

#include <limits>
#include <span>

#include "hwy/contrib/math/math-inl.h"
#include "ops/cpu/kv_view-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::ops::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// scores[i] = query · rows[i] for `count` rows of `head_dim`; four rows at a time, so that four
/// chains of additions hide each other's latency.
HWY_INLINE void dot_rows(const float* HWY_RESTRICT query, const float* HWY_RESTRICT rows,
                         std::int64_t count, std::int64_t head_dim, float* HWY_RESTRICT scores) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t whole = head_dim - head_dim % lanes;
  const auto tail = hn::FirstN(d, static_cast<std::size_t>(head_dim - whole));

  std::int64_t row = 0;
  for (; row + 4 <= count; row += 4) {
    const float* r0 = rows + row * head_dim;
    const float* r1 = r0 + head_dim;
    const float* r2 = r1 + head_dim;
    const float* r3 = r2 + head_dim;
    auto s0 = hn::Zero(d);
    auto s1 = hn::Zero(d);
    auto s2 = hn::Zero(d);
    auto s3 = hn::Zero(d);
    for (std::int64_t i = 0; i < whole; i += lanes) {
      const auto q = hn::LoadU(d, query + i);
      s0 = hn::MulAdd(q, hn::LoadU(d, r0 + i), s0);
      s1 = hn::MulAdd(q, hn::LoadU(d, r1 + i), s1);
      s2 = hn::MulAdd(q, hn::LoadU(d, r2 + i), s2);
      s3 = hn::MulAdd(q, hn::LoadU(d, r3 + i), s3);
    }
    if (whole != head_dim) {
      const auto q = hn::MaskedLoad(tail, d, query + whole);
      s0 = hn::MulAdd(q, hn::MaskedLoad(tail, d, r0 + whole), s0);
      s1 = hn::MulAdd(q, hn::MaskedLoad(tail, d, r1 + whole), s1);
      s2 = hn::MulAdd(q, hn::MaskedLoad(tail, d, r2 + whole), s2);
      s3 = hn::MulAdd(q, hn::MaskedLoad(tail, d, r3 + whole), s3);
    }
    scores[row] = hn::GetLane(hn::SumOfLanes(d, s0));
    scores[row + 1] = hn::GetLane(hn::SumOfLanes(d, s1));
    scores[row + 2] = hn::GetLane(hn::SumOfLanes(d, s2));
    scores[row + 3] = hn::GetLane(hn::SumOfLanes(d, s3));
  }
  for (; row < count; ++row) {
    const float* r = rows + row * head_dim;
    auto s = hn::Zero(d);
    for (std::int64_t i = 0; i < whole; i += lanes) {
      s = hn::MulAdd(hn::LoadU(d, query + i), hn::LoadU(d, r + i), s);
    }
    if (whole != head_dim) {
      s = hn::MulAdd(hn::MaskedLoad(tail, d, query + whole), hn::MaskedLoad(tail, d, r + whole), s);
    }
    scores[row] = hn::GetLane(hn::SumOfLanes(d, s));
  }
}

/// Turns scores into unnormalised probabilities exp(score − max) in place; returns their sum.
HWY_INLINE float exponentiate(float* HWY_RESTRICT scores, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t whole = count - count % lanes;
  const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto tail = hn::FirstN(d, static_cast<std::size_t>(count - whole));

  auto maxima = lowest;
  for (std::int64_t i = 0; i < whole; i += lanes) {
    maxima = hn::Max(maxima, hn::LoadU(d, scores + i));
  }
  if (whole != count) {
    const auto last = hn::MaskedLoad(tail, d, scores + whole);
    maxima = hn::Max(maxima, hn::IfThenElse(tail, last, lowest));
  }
  const auto max = hn::MaxOfLanes(d, maxima);

  auto sums = hn::Zero(d);
  for (std::int64_t i = 0; i < whole; i += lanes) {
    const auto p = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), max));
    hn::StoreU(p, d, scores + i);
    sums = hn::Add(sums, p);
  }
  if (whole != count) {
    const auto last = hn::MaskedLoad(tail, d, scores + whole);
    const auto p = hn::IfThenElseZero(tail, hn::Exp(d, hn::Sub(last, max)));
    hn::BlendedStore(p, tail, d, scores + whole);
    sums = hn::Add(sums, p);
  }
  return hn::GetLane(hn::SumOfLanes(d, sums));
}

/// out[…] += Σ weights[i] · rows[i], for kVectors vectors of columns from `column` on.
template <int kVectors, class D, class Mask>
HWY_INLINE void add_weighted_columns(D d, Mask tail, const float* HWY_RESTRICT weights,
                                     const float* HWY_RESTRICT rows, std::int64_t count,
                                     std::int64_t head_dim, float* HWY_RESTRICT out) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  // Two sets of sums: even and odd rows, so that additions overlap.
  hn::Vec<D> even[kVectors];
  hn::Vec<D> odd[kVectors];
  const auto load = [&](const float* from, int v) {
    return v + 1 == kVectors ? hn::MaskedLoad(tail, d, from + v * lanes)
                             : hn::LoadU(d, from + v * lanes);
  };
  for (int v = 0; v < kVectors; ++v) {
    even[v] = load(out, v);
    odd[v] = hn::Zero(d);
  }
  std::int64_t row = 0;
  for (; row + 2 <= count; row += 2) {
    const auto w0 = hn::Set(d, weights[row]);
    const auto w1 = hn::Set(d, weights[row + 1]);
    const float* r0 = rows + row * head_dim;
    const float* r1 = r0 + head_dim;
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w0, load(r0, v), even[v]);
      odd[v] = hn::MulAdd(w1, load(r1, v), odd[v]);
    }
  }
  if (row < count) {
    const auto w0 = hn::Set(d, weights[row]);
    for (int v = 0; v < kVectors; ++v) {
      even[v] = hn::MulAdd(w0, load(rows + row * head_dim, v), even[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const auto sum = hn::Add(even[v], odd[v]);
    if (v + 1 == kVectors) {
      hn::BlendedStore(sum, tail, d, out + v * lanes);
    } else {
      hn::StoreU(sum, d, out + v * lanes);
    }
  }
}

/// out += Σ weights[i] · rows[i] for `count` rows of `head_dim`.
HWY_INLINE void add_weighted_rows(const float* HWY_RESTRICT weights,
                                  const float* HWY_RESTRICT rows, std::int64_t count,
                                  std::int64_t head_dim, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto all = hn::FirstN(d, static_cast<std::size_t>(lanes));
  std::int64_t column = 0;
  for (; column + 4 * lanes <= head_dim; column += 4 * lanes) {
    add_weighted_columns<4>(d, all, weights, rows + column, count, head_dim, out + column);
  }
  const std::int64_t left = head_dim - column;
  if (left == 0) {
    return;
  }
  const std::int64_t vectors = (left + lanes - 1) / lanes;
  const auto tail = hn::FirstN(d, static_cast<std::size_t>(left - (vectors - 1) * lanes));
  switch (vectors) {
    case 1:
      return add_weighted_columns<1>(d, tail, weights, rows + column, count, head_dim,
                                     out + column);
    case 2:
      return add_weighted_columns<2>(d, tail, weights, rows + column, count, head_dim,
                                     out + column);
    case 3:
      return add_weighted_columns<3>(d, tail, weights, rows + column, count, head_dim,
                                     out + column);
    default:
      return add_weighted_columns<4>(d, tail, weights, rows + column, count, head_dim,
                                     out + column);
  }
}

/// Softmax attention of one query over the positions in `visible`.
///
/// query: float32 [head_dim], scaled already. out: float32 [head_dim], overwritten.
/// scores: scratch, one float per visible position. widened: scratch [block_len, head_dim].
template <typename T>
HWY_INLINE void attend_single_query(const float* query, const KvView<T>& keys,
                                    const KvView<T>& values,
                                    std::span<const PositionRange> visible, float* scores,
                                    float* widened, float* out) {
  std::int64_t total = 0;
  for (const PositionRange range : visible) {
    keys.for_each_run(range, widened,
                      [&](const float* rows, std::int64_t count, std::int64_t first) {
                        dot_rows(query, rows, count, keys.head_dim, scores + total + first);
                      });
    total += range.end - range.begin;
  }
  const float normaliser = 1.0F / exponentiate(scores, total);

  std::fill_n(out, values.head_dim, 0.0F);
  std::int64_t done = 0;
  for (const PositionRange range : visible) {
    values.for_each_run(
        range, widened, [&](const float* rows, std::int64_t count, std::int64_t first) {
          add_weighted_rows(scores + done + first, rows, count, values.head_dim, out);
        });
    done += range.end - range.begin;
  }
  std::transform(out, out + values.head_dim, out, [&](float sum) { return sum * normaliser; });
}

}  // namespace kvcache::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
