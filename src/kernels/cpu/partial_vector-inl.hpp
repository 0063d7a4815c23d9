// The first few lanes of a vector, for head sizes that are no multiple of a vector.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_PARTIAL_VECTOR_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_PARTIAL_VECTOR_INL_HPP_
#undef KVCACHE_KERNELS_PARTIAL_VECTOR_INL_HPP_
#else
#define KVCACHE_KERNELS_PARTIAL_VECTOR_INL_HPP_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Highway's MaskedLoad wants aligned addresses and may read whole vectors where the target has no
// masked instructions; there the lanes go through a small buffer.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
#define KVCACHE_HAVE_MASKED_ACCESS 1
#else
#define KVCACHE_HAVE_MASKED_ACCESS 0
#endif

/// A vector of from[0 … count − 1] and zeros; reads nothing beyond.
template <class D>
HWY_INLINE hn::Vec<D> load_first(D d, const float* HWY_RESTRICT from, std::int64_t count) {
#if KVCACHE_HAVE_MASKED_ACCESS
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, from);
#else
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)] = {};
  std::copy_n(from, count, lanes);
  return hn::Load(d, lanes);
#endif
}

/// Writes the first `count` lanes to `to`, and nothing beyond.
template <class D>
HWY_INLINE void store_first(hn::Vec<D> vector, D d, float* HWY_RESTRICT to, std::int64_t count) {
#if KVCACHE_HAVE_MASKED_ACCESS
  hn::BlendedStore(vector, hn::FirstN(d, static_cast<std::size_t>(count)), d, to);
#else
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(vector, d, lanes);
  std::copy_n(lanes, count, to);
#endif
}

#undef KVCACHE_HAVE_MASKED_ACCESS

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
