#include "kernels/cpu/argmax_cpu.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/argmax_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Index of the first value that `is` says is wanted, of vectors and of the single ones behind
/// them; `count` where there is none.
template <typename Is>
std::int64_t first_that(const float* values, std::int64_t count, const Is& is) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto found = is(hn::LoadU(d, values + i));
    if (!hn::AllFalse(d, found)) {
      return i + static_cast<std::int64_t>(hn::FindKnownFirstTrue(d, found));
    }
  }
  const hn::CappedTag<float, 1> one;
  for (; i < count; ++i) {
    if (!hn::AllFalse(one, is(hn::LoadU(one, values + i)))) {
      return i;
    }
  }
  return count;
}

bool has_nan(const float* values, std::int64_t count) {
  return first_that(values, count, [](auto value) { return hn::IsNaN(value); }) < count;
}

std::int64_t argmax(const float* values, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto maxima = hn::Set(d, values[0]);
  auto nan = hn::IsNaN(maxima);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto value = hn::LoadU(d, values + i);
    maxima = hn::Max(maxima, value);
    nan = hn::Or(nan, hn::IsNaN(value));
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, maxima));
  bool has_nan = !hn::AllFalse(d, nan);
  for (; i < count; ++i) {
    max = std::max(max, values[i]);
    has_nan = has_nan || std::isnan(values[i]);
  }
  if (has_nan) {
    return first_that(values, count, [](auto value) { return hn::IsNaN(value); });
  }
  return first_that(values, count, [&](auto value) {
    return hn::Eq(value, hn::Set(hn::DFromV<decltype(value)>(), max));
  });
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(argmax);
HWY_EXPORT(has_nan);

std::int64_t argmax_cpu(const float* values, std::int64_t count) {
  return HWY_DYNAMIC_DISPATCH(argmax)(values, count);
}

bool has_nan_cpu(const float* values, std::int64_t count) {
  return HWY_DYNAMIC_DISPATCH(has_nan)(values, count);
}

}  // namespace kvcache::kernels
#endif
