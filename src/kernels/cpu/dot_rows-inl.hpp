// Dot products of one vector with consecutive rows: scores of a query, logits of a token.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_DOT_ROWS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_DOT_ROWS_INL_HPP_
#undef KVCACHE_KERNELS_DOT_ROWS_INL_HPP_
#else
#define KVCACHE_KERNELS_DOT_ROWS_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
/// The sums of the lanes of four vectors, added up side by side: a quarter of the steps of one
/// after the other.
template <class D>
HWY_INLINE void store_four_sums(D d, const hn::Vec<D>* HWY_RESTRICT vectors,
                                float* HWY_RESTRICT sums) {
  const hn::Repartition<std::uint64_t, D> pairs;
  const hn::Full128<float> four;
  const auto add_halves = [&](hn::Vec<D> a, hn::Vec<D> b) {  // of each block: a, b, a, b
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto first = add_halves(vectors[0], vectors[1]);
  const auto second = add_halves(vectors[2], vectors[3]);
  const auto blocks = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, first, second)),
                              hn::BitCast(d, hn::InterleaveUpper(pairs, first, second)));
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(blocks, d, lanes);
  auto total = hn::Load(four, lanes);
  for (std::size_t i = 4; i < hn::Lanes(d); i += 4) {
    total = hn::Add(total, hn::Load(four, lanes + i));
  }
  hn::StoreU(total, four, sums);
}
#endif

/// Dot products of one vector with kCount consecutive rows, kCount chains of additions side by side
/// to hide each other's latency.
template <int kCount, typename T>
HWY_INLINE void dot_some_rows(const float* HWY_RESTRICT vector, const T* HWY_RESTRICT rows,
                              std::int64_t size, float* HWY_RESTRICT products) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t stride = size + kScaleElements<T>;
  hn::Vec<decltype(d)> sums[kCount];
  for (int r = 0; r < kCount; ++r) {
    sums[r] = hn::Zero(d);
  }
  std::int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    const auto q = hn::LoadU(d, vector + i);
    for (int r = 0; r < kCount; ++r) {
      sums[r] = hn::MulAdd(q, load_float32(d, rows + r * stride + i), sums[r]);
    }
  }
  if (i < size) {
    const auto q = load_first(d, vector + i, size - i);
    for (int r = 0; r < kCount; ++r) {
      sums[r] = hn::MulAdd(q, load_first_float32(d, rows + r * stride + i, size - i), sums[r]);
    }
  }
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kCount == 4) {
    store_four_sums(d, sums, products);
    return;
  }
#endif
  for (int r = 0; r < kCount; ++r) {
    products[r] = hn::GetLane(hn::SumOfLanes(d, sums[r]));
  }
}

/// products[i] = vector · rows[i] for `count` rows of `size`; fetches a row ahead with each. The
/// scales behind rows of int8 are left out.
template <typename T, typename Next>
HWY_INLINE void dot_rows(const float* HWY_RESTRICT vector, const T* HWY_RESTRICT rows,
                         std::int64_t count, std::int64_t size, float* HWY_RESTRICT products,
                         const Next& ahead) {
  const std::int64_t stride = size + kScaleElements<T>;
  std::int64_t row = 0;
  for (; row + 4 <= count; row += 4) {
    for (int r = 0; r < 4; ++r) {
      ahead.fetch_to_second_level(row + r);
    }
    dot_some_rows<4>(vector, rows + row * stride, size, products + row);
  }
  for (; row < count; ++row) {
    ahead.fetch_to_second_level(row);
    dot_some_rows<1>(vector, rows + row * stride, size, products + row);
  }
}

/// vector · row, for rows long enough that several sums within one row hide the latency of
/// addition: memory is then read as a single stream, which the processor fetches ahead best.
template <typename W>
HWY_INLINE float dot_long_row(const float* HWY_RESTRICT vector, const W* HWY_RESTRICT row,
                              std::int64_t size) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr int kSums = 4;
  hn::Vec<decltype(d)> sums[kSums];
  for (auto& sum : sums) {
    sum = hn::Zero(d);
  }
  std::int64_t i = 0;
  for (; i + kSums * lanes <= size; i += kSums * lanes) {
    for (int s = 0; s < kSums; ++s) {
      const std::int64_t at = i + s * lanes;
      sums[s] = hn::MulAdd(hn::LoadU(d, vector + at), load_float32(d, row + at), sums[s]);
    }
  }
  for (; i + lanes <= size; i += lanes) {
    sums[0] = hn::MulAdd(hn::LoadU(d, vector + i), load_float32(d, row + i), sums[0]);
  }
  if (const std::int64_t left = size - i; left > 0) {
    sums[0] =
        hn::MulAdd(load_first(d, vector + i, left), load_first_float32(d, row + i, left), sums[0]);
  }
  const auto total = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  return hn::GetLane(hn::SumOfLanes(d, total));
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
