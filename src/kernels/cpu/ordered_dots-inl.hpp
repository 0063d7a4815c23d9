// Dot products of queries with rows: scores of an attention, logits of a head. Whether there is one
// query or many, every product is added up in the same order, so it has the same bits.
//
// The order: element d belongs to chain (d / 4) mod (lanes / 4) of a vector; each chain is added up
// in the order of its elements, by fused multiplications and additions from 0 on; then the chains
// pairwise. It is what both ways have in common that keep the lanes full: rows along the lanes,
// turned from memory four by four (few queries), and queries along the lanes (many).
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ORDERED_DOTS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ORDERED_DOTS_INL_HPP_
#undef KVCACHE_KERNELS_ORDERED_DOTS_INL_HPP_
#else
#define KVCACHE_KERNELS_ORDERED_DOTS_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/rounding.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using FloatVector = hn::Vec<Floats>;

// Highway's targets of this project have vectors of one size each (KVCacheProject.cmake).
inline constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(Floats()));
inline constexpr std::int64_t kBlockFloats = kLanes < 4 ? kLanes : 4;  // of 128 bits
inline constexpr int kChains = static_cast<int>(kLanes / kBlockFloats);

// Rows as long as this are a head's and come from memory, several at a time, which the processor's
// own prefetching does not follow: while some are used, those behind them are fetched. (One core of
// a Xeon, 50,257 rows of 768: one float32 query 15 ms without, 11.5 with; float16 12.5 and 7.2.)
inline constexpr std::int64_t kLongRow = 256;

/// Whether rows are half of a vector, so that two of them fill one.
constexpr bool half_a_vector(std::int64_t size) { return kChains == 4 && 2 * size == kLanes; }

/// Of a query of `size` elements: how many floats its patterns take.
constexpr std::int64_t pattern_floats(std::int64_t size) {
  return round_up(size, kLanes) * kBlockFloats;
}

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE void make_patterns(const float* query, std::int64_t size, float* patterns) {
  std::copy_n(query, size, patterns);
}

template <int kQueries, typename T>
HWY_INLINE void dot_vector_of_rows(const float* patterns, std::int64_t size, const T* rows,
                                   std::int64_t /*stride*/, std::int64_t /*count*/,
                                   FloatVector (&products)[kQueries]) {
  const Floats d;
  for (int query = 0; query < kQueries; ++query) {
    auto sum = hn::Zero(d);
    for (std::int64_t i = 0; i < size; ++i) {
      sum = hn::MulAdd(load_float32(d, rows + i),
                       hn::Set(d, patterns[query * pattern_floats(size) + i]), sum);
    }
    products[query] = sum;
  }
}

#else

/// Lane l of pattern j of a vector of the query: its element 4 · (l / 4) + j. Four for each vector.
HWY_INLINE void make_patterns(const float* query, std::int64_t size, float* patterns) {
  const Floats d;
  for (std::int64_t i = 0; i < size; i += kLanes) {
    auto part = hn::Zero(d);
    if constexpr (kChains == 4) {
      if (half_a_vector(size)) {
        const hn::Half<Floats> half;
        const auto elements = hn::LoadU(half, query);
        part = hn::Combine(d, elements, elements);
      } else {
        part = size - i >= kLanes ? hn::LoadU(d, query + i) : load_first(d, query + i, size - i);
      }
    } else {
      part = size - i >= kLanes ? hn::LoadU(d, query + i) : load_first(d, query + i, size - i);
    }
    hn::StoreU(hn::Broadcast<0>(part), d, patterns);
    hn::StoreU(hn::Broadcast<1>(part), d, patterns + kLanes);
    hn::StoreU(hn::Broadcast<2>(part), d, patterns + 2 * kLanes);
    hn::StoreU(hn::Broadcast<3>(part), d, patterns + 3 * kLanes);
    patterns += 4 * kLanes;
  }
}

/// Turns each block of four vectors: `turned[j]` holds element j of each vector's block, side by
/// side.
HWY_INLINE void turn_blocks(const FloatVector (&rows)[4], FloatVector (&turned)[4]) {
  const Floats d;
  const auto lower_even = hn::InterleaveLower(d, rows[0], rows[2]);
  const auto lower_odd = hn::InterleaveLower(d, rows[1], rows[3]);
  const auto upper_even = hn::InterleaveUpper(d, rows[0], rows[2]);
  const auto upper_odd = hn::InterleaveUpper(d, rows[1], rows[3]);
  turned[0] = hn::InterleaveLower(d, lower_even, lower_odd);
  turned[1] = hn::InterleaveUpper(d, lower_even, lower_odd);
  turned[2] = hn::InterleaveLower(d, upper_even, upper_odd);
  turned[3] = hn::InterleaveUpper(d, upper_even, upper_odd);
}

/// Adds what four vectors of rows contribute to each query's chains.
template <int kQueries>
HWY_INLINE void add_to_chains(const FloatVector (&rows)[4], const float* patterns,
                              std::int64_t query_stride, FloatVector (&chains)[kQueries]) {
  const Floats d;
  FloatVector turned[4];
  turn_blocks(rows, turned);
  for (int query = 0; query < kQueries; ++query) {
    for (int j = 0; j < 4; ++j) {
      chains[query] = hn::MulAdd(
          turned[j], hn::LoadU(d, patterns + query * query_stride + j * kLanes), chains[query]);
    }
  }
}

/// The chains of four rows: block b holds chain b of each of them.
template <int kQueries, typename T>
HWY_INLINE void dot_four_rows(const float* patterns, std::int64_t size, const T* const (&rows)[4],
                              FloatVector (&chains)[kQueries]) {
  const Floats d;
  const std::int64_t query_stride = pattern_floats(size);
  for (auto& chain : chains) {
    chain = hn::Zero(d);
  }
  std::int64_t i = 0;
  const bool from_memory = size >= kLongRow;
  for (; i + kLanes <= size; i += kLanes) {
    if (from_memory) {
      for (const T* row : rows) {
        hwy::Prefetch(row + 4 * size + i);
      }
    }
    const FloatVector parts[4]{load_float32(d, rows[0] + i), load_float32(d, rows[1] + i),
                               load_float32(d, rows[2] + i), load_float32(d, rows[3] + i)};
    add_to_chains(parts, patterns + 4 * i, query_stride, chains);
  }
  if (const std::int64_t left = size - i; left > 0) {
    const FloatVector parts[4]{
        load_first_float32(d, rows[0] + i, left), load_first_float32(d, rows[1] + i, left),
        load_first_float32(d, rows[2] + i, left), load_first_float32(d, rows[3] + i, left)};
    add_to_chains(parts, patterns + 4 * i, query_stride, chains);
  }
}

#if HWY_MAX_BYTES == 64
/// Blocks 0 and 1, and 2 and 3, of two vectors added up: of a, of b, of a, of b.
HWY_INLINE FloatVector add_neighbour_blocks(FloatVector a, FloatVector b) {
  return hn::Add(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a),
                 hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a)));
}

/// Two rows of half a vector each, those after `count` rows as zeros.
template <typename T>
HWY_INLINE FloatVector load_two_rows(const T* rows, std::int64_t stride, std::int64_t count) {
  const Floats d;
  const hn::Half<Floats> half;
  if constexpr (std::is_same_v<T, float>) {
    if (count >= 2) {  // no scale lies between them
      return hn::LoadU(d, rows);
    }
  }
  const auto lower = count >= 1 ? load_float32(half, rows) : hn::Zero(half);
  const auto upper = count >= 2 ? load_float32(half, rows + stride) : hn::Zero(half);
  return hn::Combine(d, upper, lower);
}

template <int kQueries, typename T>
HWY_INLINE void dot_rows_of_halves(const float* patterns, const T* rows, std::int64_t stride,
                                   std::int64_t count, FloatVector (&products)[kQueries]) {
  const Floats d;
  FloatVector chains[2][kQueries];  // of rows 0 … 7 and 8 … 15
  for (int group = 0; group < 2; ++group) {
    for (auto& chain : chains[group]) {
      chain = hn::Zero(d);
    }
    const std::int64_t first = std::int64_t{8} * group;
    if (first >= count) {
      break;
    }
    FloatVector pairs[4];
    for (int pair = 0; pair < 4; ++pair) {
      const std::int64_t row = first + 2 * pair;
      pairs[pair] = load_two_rows(rows + std::min(row, count - 1) * stride, stride, count - row);
    }
    add_to_chains(pairs, patterns, pattern_floats(kLanes / 2), chains[group]);
  }
  if (count <= 8) {
    for (auto& chain : chains[1]) {
      chain = hn::Zero(d);
    }
  }
  // The even rows lie in the lower half now, the odd ones in the upper.
  alignas(64) static constexpr std::int32_t kInTurn[16]{0, 8,  1, 9,  2, 10, 3, 11,
                                                        4, 12, 5, 13, 6, 14, 7, 15};
  const auto in_turn = hn::SetTableIndices(d, kInTurn);
  for (int query = 0; query < kQueries; ++query) {
    products[query] =
        hn::TableLookupLanes(add_neighbour_blocks(chains[0][query], chains[1][query]), in_turn);
  }
}
#endif

/// Lane i of `products[q]`: query q · row i, for `count` rows, at most as many as a vector has
/// lanes; what is in the lanes behind is undefined.
template <int kQueries, typename T>
HWY_INLINE void dot_vector_of_rows(const float* patterns, std::int64_t size, const T* rows,
                                   std::int64_t stride, std::int64_t count,
                                   FloatVector (&products)[kQueries]) {
#if HWY_MAX_BYTES == 64
  if (half_a_vector(size)) {
    dot_rows_of_halves(patterns, rows, stride, count, products);
    return;
  }
#endif
  const Floats d;
  FloatVector chains[kChains][kQueries];
  for (int group = 0; group < kChains; ++group) {
    const std::int64_t first = std::int64_t{4} * group;
    if (first >= count) {
      for (auto& chain : chains[group]) {
        chain = hn::Zero(d);
      }
      continue;
    }
    const auto at = [&](std::int64_t row) { return rows + std::min(row, count - 1) * stride; };
    const T* const four[4]{at(first), at(first + 1), at(first + 2), at(first + 3)};
    dot_four_rows(patterns, size, four, chains[group]);
  }
  for (int query = 0; query < kQueries; ++query) {
#if HWY_MAX_BYTES == 64
    const auto ab = add_neighbour_blocks(chains[0][query], chains[1][query]);
    const auto cd = add_neighbour_blocks(chains[2][query], chains[3][query]);
    products[query] = hn::Add(hn::ConcatLowerLower(d, cd, ab), hn::ConcatUpperUpper(d, cd, ab));
#elif HWY_MAX_BYTES == 32
    const auto a = chains[0][query];
    const auto b = chains[1][query];
    products[query] = hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
#else
    products[query] = chains[0][query];
#endif
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
