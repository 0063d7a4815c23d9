// How a kernel walks the cache: positions of a row -> runs of consecutive rows in pool blocks.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_OPS_KV_VIEW_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_OPS_KV_VIEW_INL_HPP_
#undef KVCACHE_OPS_KV_VIEW_INL_HPP_
#else
#define KVCACHE_OPS_KV_VIEW_INL_HPP_
#endif

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::ops::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// float32, float16 or bfloat16 to float32, exactly.
template <typename T>
HWY_INLINE void widen(const T* from, std::int64_t count, float* HWY_RESTRICT to) {
  if constexpr (std::is_same_v<T, float>) {
    std::copy_n(from, count, to);
  } else {
    const hn::ScalableTag<float> df;
    const hn::Rebind<std::uint16_t, decltype(df)> bits_tag;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      const auto bits = hn::LoadU(bits_tag, reinterpret_cast<const std::uint16_t*>(from + i));
      if constexpr (std::is_same_v<T, Ort::Float16_t>) {
        const hn::Rebind<hwy::float16_t, decltype(df)> half_tag;
        hn::StoreU(hn::PromoteTo(df, hn::BitCast(half_tag, bits)), df, to + i);
      } else {  // a bfloat16 is the upper half of a float32
        const hn::RebindToUnsigned<decltype(df)> du;
        hn::StoreU(hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du, bits))), df, to + i);
      }
    }
    for (; i < count; ++i) {
      to[i] = from[i].ToFloat();
    }
  }
}

/// float32 to T, rounded to nearest even.
template <typename T>
HWY_INLINE void narrow(const float* from, std::int64_t count, T* HWY_RESTRICT to) {
  std::transform(from, from + count, to, [](float value) { return T(value); });
}

/// Positions [begin, end) of a row, in the order of its tokens.
struct PositionRange {
  std::int64_t begin;
  std::int64_t end;
};

/// The keys (or values) of one head of one row, as float32 rows of head_dim.
template <typename T>
struct KvView {
  const T* pool;                    // [blocks, num_heads, block_len, head_dim]
  const std::int32_t* block_table;  // [blocks_per_row], of this row
  std::int64_t head;
  std::int64_t num_heads;
  std::int64_t head_dim;
  std::int64_t block_len;

  [[nodiscard]] const T* at(std::int64_t position) const {
    const std::int64_t block = block_table[position / block_len];
    return pool + ((block * num_heads + head) * block_len + position % block_len) * head_dim;
  }

  /// Calls `visit(rows, count, first)` for each run of consecutive rows in `range`; `first` is the
  /// run's first position counted from `range.begin`. 16-bit caches are widened into `scratch`
  /// [block_len or range length, head_dim] first, so that the arithmetic is float32 throughout.
  template <typename Visit>
  HWY_INLINE void for_each_run(PositionRange range, float* HWY_RESTRICT scratch,
                               const Visit& visit) const {
    for (std::int64_t position = range.begin; position < range.end;) {
      const std::int64_t count = std::min(range.end - position, block_len - position % block_len);
      visit(as_float(at(position), count * head_dim, scratch), count, position - range.begin);
      position += count;
    }
  }

 private:
  static HWY_INLINE const float* as_float(const T* from, std::int64_t count,
                                          float* HWY_RESTRICT scratch) {
    if constexpr (std::is_same_v<T, float>) {
      (void)count;
      (void)scratch;
      return from;
    } else {
      widen(from, count, scratch);
      return scratch;
    }
  }
};

}  // namespace kvcache::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
