// Fetching what is needed next into the caches while computing, so that arithmetic and memory are
// busy at the same time, not in turns.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_PREFETCH_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_PREFETCH_INL_HPP_
#undef KVCACHE_KERNELS_PREFETCH_INL_HPP_
#else
#define KVCACHE_KERNELS_PREFETCH_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>

#include "base/rounding.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

/// Nothing: the processor's own prefetching keeps up.
struct NothingAhead {
  HWY_INLINE void fetch(std::int64_t /*step*/) const {}
  HWY_INLINE void fetch_to_second_level(std::int64_t /*step*/) const {}
  [[nodiscard]] NothingAhead after(std::int64_t /*steps*/) const { return {}; }
};

/// What a product reads next, fetched while it computes: a part of it with each row of a panel.
struct NextPart {
  const std::byte* data = nullptr;
  std::int64_t row_bytes = 0;  // with a row's columns together

  /// `bytes` at `data`, spread over so many rows.
  static NextPart fetched_by(std::int64_t rows, const void* data, std::int64_t bytes) {
    return {static_cast<const std::byte*>(data), divide_up(bytes, rows)};
  }
};

/// A run of memory that is read later, `elements` of it with each step of a loop.
template <typename T>
struct Ahead {
  const T* data;
  std::int64_t elements;

  HWY_INLINE void fetch(std::int64_t step) const {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    for (std::int64_t i = 0; i < elements; i += kLine) {
      hwy::Prefetch(data + step * elements + i);
    }
  }
  /// Further ahead than the first-level cache has room for.
  HWY_INLINE void fetch_to_second_level(std::int64_t step) const {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    constexpr int kSecondLevel = 2;
    for (std::int64_t i = 0; i < elements; i += kLine) {
      __builtin_prefetch(data + step * elements + i, 0, kSecondLevel);
    }
  }
  [[nodiscard]] Ahead after(std::int64_t steps) const {
    return {data + steps * elements, elements};
  }
};

// Written out because clang 14 does not deduce the arguments of an aggregate.
template <typename T>
Ahead(const T*, std::int64_t) -> Ahead<T>;

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
