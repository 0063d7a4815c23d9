#include "kernels/cpu/log_sum_exp_cpu.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/log_sum_exp_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

float log_sum_exp(const float* HWY_RESTRICT values, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float largest = *std::max_element(values, values + count);
  if (std::isinf(largest)) {
    return largest;  // of −inf alone there is nothing to sum
  }
  const auto offset = hn::Set(d, largest);
  auto sums = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    sums = hn::Add(sums, hn::Exp(d, hn::Sub(hn::LoadU(d, values + i), offset)));
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < count; ++i) {
    sum += std::exp(values[i] - largest);
  }
  return largest + std::log(sum);
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(log_sum_exp);

float log_sum_exp_cpu(const float* values, std::int64_t count) {
  return HWY_DYNAMIC_DISPATCH(log_sum_exp)(values, count);
}

}  // namespace kvcache::kernels
#endif
