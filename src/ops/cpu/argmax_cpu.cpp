#include "ops/cpu/argmax_cpu.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/argmax_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::ops::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

bool has_nan(const float* values, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto found = hn::IsNaN(hn::Zero(d));  // in no lane
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    found = hn::Or(found, hn::IsNaN(hn::LoadU(d, values + i)));
  }
  return !hn::AllFalse(d, found) ||
         std::any_of(values + i, values + count, [](float value) { return std::isnan(value); });
}

std::int64_t argmax(const float* values, std::int64_t count) {
  if (has_nan(values, count)) {
    return std::find_if(values, values + count, [](float value) { return std::isnan(value); }) -
           values;
  }
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto maxima = hn::Set(d, values[0]);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    maxima = hn::Max(maxima, hn::LoadU(d, values + i));
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, maxima));
  for (; i < count; ++i) {
    max = std::max(max, values[i]);
  }
  return std::find(values, values + count, max) - values;
}

}  // namespace kvcache::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::ops {

HWY_EXPORT(argmax);
HWY_EXPORT(has_nan);

std::int64_t argmax_cpu(const float* values, std::int64_t count) {
  return HWY_DYNAMIC_DISPATCH(argmax)(values, count);
}

bool has_nan_cpu(const float* values, std::int64_t count) {
  return HWY_DYNAMIC_DISPATCH(has_nan)(values, count);
}

}  // namespace kvcache::ops
#endif
