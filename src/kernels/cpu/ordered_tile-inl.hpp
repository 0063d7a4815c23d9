// Dot products of many queries with rows, in the order of ordered_dots-inl.hpp: queries lie along
// the lanes.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_ORDERED_TILE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_ORDERED_TILE_INL_HPP_
#undef KVCACHE_KERNELS_ORDERED_TILE_INL_HPP_
#else
#define KVCACHE_KERNELS_ORDERED_TILE_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/ordered_dots-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows and vectors of queries at a time, whose sums stay in registers: AVX-512 and NEON have 32 of
// them and the others 16. With all chains at once, and with one of them.
inline constexpr int kDotRows = kChains == 1 ? 6 : 3;
inline constexpr int kDotVectors = 2;
inline constexpr int kChainRows = 6;
inline constexpr int kChainVectors = HWY_MAX_BYTES == 64 || HWY_ARCH_ARM_A64 ? 4 : 2;

// Loops over the sums of a tile are unrolled by name: GCC keeps them in registers only if that
// happens early.

/// sums += element i of kRows rows · that of kVectors vectors of queries.
template <int kRows, int kVectors>
HWY_INLINE void add_element(const float* HWY_RESTRICT rows, std::int64_t row_stride, std::int64_t i,
                            const float* HWY_RESTRICT queries, std::int64_t query_stride,
                            FloatVector (&sums)[kRows][kVectors]) {
  const Floats d;
  FloatVector query[kVectors];
  HWY_UNROLL(4)
  for (int v = 0; v < kVectors; ++v) {
    query[v] = hn::LoadU(d, queries + i * query_stride + v * kLanes);
  }
  HWY_UNROLL(12)
  for (int r = 0; r < kRows; ++r) {
    const auto element = hn::Set(d, rows[r * row_stride + i]);
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = hn::MulAdd(element, query[v], sums[r][v]);
    }
  }
}

/// kRows rows · kVectors vectors of queries; `queries` has the elements of a query in a column.
template <int kRows, int kVectors>
HWY_INLINE void dot_queries_tile(const float* HWY_RESTRICT rows, std::int64_t row_stride,
                                 std::int64_t size, const float* HWY_RESTRICT queries,
                                 std::int64_t query_stride, float* HWY_RESTRICT out,
                                 std::int64_t out_stride) {
  const Floats d;
  FloatVector chains[kChains][kRows][kVectors];
  HWY_UNROLL(4)
  for (auto& chain : chains) {
    HWY_UNROLL(12)
    for (auto& row : chain) {
      HWY_UNROLL(4)
      for (auto& sum : row) {
        sum = hn::Zero(d);
      }
    }
  }
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    HWY_UNROLL(4)
    for (int chain = 0; chain < kChains; ++chain) {
      HWY_UNROLL(4)
      for (int j = 0; j < kBlockFloats; ++j) {
        add_element(rows, row_stride, i + chain * kBlockFloats + j, queries, query_stride,
                    chains[chain]);
      }
    }
  }
  HWY_UNROLL(4)
  for (int chain = 0; chain < kChains; ++chain) {  // what a vector would hold of the rest
    const std::int64_t first = i + chain * kBlockFloats;
    for (std::int64_t at = first; at < std::min(first + kBlockFloats, size); ++at) {
      add_element(rows, row_stride, at, queries, query_stride, chains[chain]);
    }
  }
  HWY_UNROLL(12)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) {
      auto sum = chains[0][r][v];
      if constexpr (kChains == 2) {
        sum = hn::Add(sum, chains[1][r][v]);
      } else if constexpr (kChains == 4) {
        sum = hn::Add(hn::Add(sum, chains[1][r][v]), hn::Add(chains[2][r][v], chains[3][r][v]));
      }
      hn::StoreU(sum, d, out + r * out_stride + v * kLanes);
    }
  }
}

/// One chain of kRows rows · kVectors vectors of queries.
template <int kRows, int kVectors>
HWY_INLINE void add_up_chain(const float* HWY_RESTRICT rows, std::int64_t row_stride,
                             std::int64_t size, const float* HWY_RESTRICT queries,
                             std::int64_t query_stride, int chain,
                             FloatVector (&sums)[kRows][kVectors]) {
  const Floats d;
  HWY_UNROLL(12)
  for (auto& row : sums) {
    HWY_UNROLL(4)
    for (auto& sum : row) {
      sum = hn::Zero(d);
    }
  }
  std::int64_t i = chain * kBlockFloats;
  for (; i + kBlockFloats <= size; i += kLanes) {
    if (chain == 0) {
      for (int r = 0; r < kRows; ++r) {
        hwy::Prefetch(rows + (kRows + r) * row_stride + i);
      }
    }
    HWY_UNROLL(4)
    for (int j = 0; j < kBlockFloats; ++j) {
      add_element(rows, row_stride, i + j, queries, query_stride, sums);
    }
  }
  for (; i < size; ++i) {  // a block that the end cuts off
    add_element(rows, row_stride, i, queries, query_stride, sums);
  }
}

/// The same of long rows: one chain after the other, so that more rows and queries share what is
/// loaded.
template <int kRows, int kVectors>
HWY_INLINE void dot_queries_by_chain(const float* HWY_RESTRICT rows, std::int64_t row_stride,
                                     std::int64_t size, const float* HWY_RESTRICT queries,
                                     std::int64_t query_stride, float* HWY_RESTRICT out,
                                     std::int64_t out_stride) {
  const Floats d;
  HWY_ALIGN float even[kLanes * kRows * kVectors];
  FloatVector sums[kRows][kVectors];
  for (int chain = 0; chain < kChains; ++chain) {
    add_up_chain(rows, row_stride, size, queries, query_stride, chain, sums);
    const bool is_even = chain % 2 == 0 && kChains > 1;
    HWY_UNROLL(12)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        float* const waiting = even + (std::int64_t{kVectors} * r + v) * kLanes;
        float* const to = out + r * out_stride + v * kLanes;
        if (is_even) {
          hn::Store(sums[r][v], d, waiting);
          continue;
        }
        auto sum = kChains > 1 ? hn::Add(hn::Load(d, waiting), sums[r][v]) : sums[r][v];
        if (chain > 1) {
          sum = hn::Add(hn::LoadU(d, to), sum);
        }
        hn::StoreU(sum, d, to);
      }
    }
  }
}

/// Every row with kVectors vectors of queries: kRows at a time, and fewer at the end.
template <bool kLong, int kRows, int kVectors>
HWY_INLINE void dot_queries_columns(const float* rows, std::int64_t row_stride, std::int64_t count,
                                    std::int64_t size, const float* queries,
                                    std::int64_t query_stride, float* out,
                                    std::int64_t out_stride) {
  std::int64_t row = 0;
  for (; row + kRows <= count; row += kRows) {
    const float* const from = rows + row * row_stride;
    float* const to = out + row * out_stride;
    if constexpr (kLong) {
      dot_queries_by_chain<kRows, kVectors>(from, row_stride, size, queries, query_stride, to,
                                            out_stride);
    } else {
      dot_queries_tile<kRows, kVectors>(from, row_stride, size, queries, query_stride, to,
                                        out_stride);
    }
  }
  if constexpr (kRows > 1) {
    dot_queries_columns<kLong, kRows / 2, kVectors>(rows + row * row_stride, row_stride,
                                                    count - row, size, queries, query_stride,
                                                    out + row * out_stride, out_stride);
  }
}

/// out[row][query] = row · query for `count` rows and the first `columns` queries, a multiple of
/// the lanes. Behind long rows there are others, or nothing that must not be prefetched.
inline HWY_NOINLINE void dot_queries(const float* rows, std::int64_t row_stride, std::int64_t count,
                                     std::int64_t size, const float* queries,
                                     std::int64_t query_stride, float* out, std::int64_t out_stride,
                                     std::int64_t columns) {
  std::int64_t q = 0;
  const auto columns_of = [&]<bool kLong, int kRows, int kVectors>() HWY_ATTR {
    for (; q + kVectors * kLanes <= columns; q += kVectors * kLanes) {
      dot_queries_columns<kLong, kRows, kVectors>(rows, row_stride, count, size, queries + q,
                                                  query_stride, out + q, out_stride);
    }
  };
  if (size >= kLongRow) {
    columns_of.template operator()<true, kChainRows, kChainVectors>();
    columns_of.template operator()<true, kChainRows, 2>();
    columns_of.template operator()<true, 2 * kChainRows, 1>();
  } else {
    columns_of.template operator()<false, kDotRows, kDotVectors>();
    columns_of.template operator()<false, 2 * kDotRows, 1>();
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
