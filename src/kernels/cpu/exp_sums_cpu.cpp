#include "kernels/cpu/exp_sums_cpu.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/exp_sums_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

double exp_sum(const float* HWY_RESTRICT logits, std::int64_t count, double largest,
               double temperature) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> narrow;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto offset = hn::Set(d, largest);
  const auto divisor = hn::Set(d, temperature);
  auto sums = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto logit = hn::PromoteTo(d, hn::LoadU(narrow, logits + i));
    sums = hn::Add(sums, hn::Exp(d, hn::Div(hn::Sub(logit, offset), divisor)));
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < count; ++i) {
    sum += std::exp((static_cast<double>(logits[i]) - largest) / temperature);
  }
  return sum;
}

void exp_sums(const float* HWY_RESTRICT logits, std::int64_t count, float largest,
              double temperature, double* HWY_RESTRICT sums) {
  for (std::int64_t first = 0; first < count; first += kExpSumBlock) {
    const std::int64_t size = std::min(kExpSumBlock, count - first);
    *sums++ = exp_sum(logits + first, size, static_cast<double>(largest), temperature);
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(exp_sums);

void exp_sums_cpu(const float* logits, std::int64_t count, float largest, double temperature,
                  double* sums) {
  HWY_DYNAMIC_DISPATCH(exp_sums)(logits, count, largest, temperature, sums);
}

}  // namespace kvcache::kernels
#endif
