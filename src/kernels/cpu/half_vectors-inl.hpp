// Keys and values that fill half of a register: two that follow each other in memory are one, and
// nothing of it is left empty.
//
// Each result is added up in the order of one key or value after the other (dot_rows-inl.hpp,
// single_query-inl.hpp), so it has the same bits.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_HALF_VECTORS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_HALF_VECTORS_INL_HPP_
#undef KVCACHE_KERNELS_HALF_VECTORS_INL_HPP_
#else
#define KVCACHE_KERNELS_HALF_VECTORS_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/dot_rows-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Where a register has two blocks of 128 bits at least.
#if HWY_MAX_BYTES >= 32

/// Whether vectors of `size` elements are half of a register, without a scale between them.
template <typename T>
HWY_INLINE bool fill_half(std::int64_t size) {
  const hn::ScalableTag<float> d;
  return kScaleElements<T> == 0 && 2 * size == static_cast<std::int64_t>(hn::Lanes(d));
}

/// As dot_rows().
template <typename T, typename Next>
HWY_INLINE void dot_halves(const float* HWY_RESTRICT vector, const T* HWY_RESTRICT rows,
                           std::int64_t count, std::int64_t size, float* HWY_RESTRICT products,
                           const Next& ahead) {
  const hn::ScalableTag<float> d;
  const hn::Repartition<std::uint64_t, decltype(d)> pairs;
  const hn::Full128<float> four;
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  std::copy_n(vector, size, lanes);
  std::copy_n(vector, size, lanes + size);
  const auto twice = hn::Load(d, lanes);
  // Of each block: a, b, a, b.
  const auto add_halves = [&](auto a, auto b) {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  std::int64_t row = 0;
  for (; row + 8 <= count; row += 8) {
    const auto product = [&](int pair) {
      ahead.fetch_to_second_level(row + 2 * pair);
      return hn::MulAdd(twice, load_float32(d, rows + (row + 2 * pair) * size), hn::Zero(d));
    };
    const auto first = add_halves(product(0), product(1));
    const auto second = add_halves(product(2), product(3));
    hn::Store(hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, first, second)),
                      hn::BitCast(d, hn::InterleaveUpper(pairs, first, second))),
              d, lanes);
    const auto total = [&](std::int64_t begin) {  // of every other row
      auto sum = hn::Load(four, lanes + begin);
      for (std::int64_t i = 4; i < size; i += 4) {
        sum = hn::Add(sum, hn::Load(four, lanes + begin + i));
      }
      return sum;
    };
    const auto even = total(0);
    const auto odd = total(size);
    hn::StoreU(hn::InterleaveLower(four, even, odd), four, products + row);
    hn::StoreU(hn::InterleaveUpper(four, even, odd), four, products + row + 4);
  }
  dot_rows(vector, rows + row * size, count - row, size, products + row, ahead.after(row));
}

/// As add_weighted_columns() of single_query-inl.hpp.
template <typename T, typename Next>
HWY_INLINE void add_weighted_halves(const float* HWY_RESTRICT weights, const T* HWY_RESTRICT rows,
                                    std::int64_t count, float* HWY_RESTRICT out,
                                    const Next& ahead) {
  const hn::ScalableTag<float> d;
  const hn::Half<decltype(d)> half;
  const auto size = static_cast<std::int64_t>(hn::Lanes(half));
  // The even rows' sums in the lower half, the odd ones' in the upper.
  auto sums = hn::ZeroExtendVector(d, hn::LoadU(half, out));
  std::int64_t row = 0;
  for (; row + 2 <= count; row += 2) {
    ahead.fetch_to_second_level(row);
    const auto both = hn::Combine(d, hn::Set(half, weights[row + 1]), hn::Set(half, weights[row]));
    sums = hn::MulAdd(both, load_float32(d, rows + row * size), sums);
  }
  auto even = hn::LowerHalf(half, sums);
  if (row < count) {
    even = hn::MulAdd(hn::Set(half, weights[row]), load_float32(half, rows + row * size), even);
  }
  hn::StoreU(hn::Add(even, hn::UpperHalf(half, sums)), half, out);
}

#else

template <typename T>
HWY_INLINE bool fill_half(std::int64_t /*size*/) {
  return false;
}

template <typename T, typename Next>
HWY_INLINE void dot_halves(const float* /*vector*/, const T* /*rows*/, std::int64_t /*count*/,
                           std::int64_t /*size*/, float* /*products*/, const Next& /*ahead*/) {}

template <typename T, typename Next>
HWY_INLINE void add_weighted_halves(const float* /*weights*/, const T* /*rows*/,
                                    std::int64_t /*count*/, float* /*out*/, const Next& /*ahead*/) {
}

#endif

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
