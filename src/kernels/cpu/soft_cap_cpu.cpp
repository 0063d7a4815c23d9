#include "kernels/cpu/soft_cap_cpu.hpp"

#include <algorithm>

#include "base/rounding.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/soft_cap_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/soft_cap-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

void cap_numbers(float* x, std::int64_t count, float cap, const ParallelFor& parallel_for) {
  constexpr std::int64_t kTaskNumbers = 4096;
  parallel_for(divide_up(count, kTaskNumbers), [&](std::int64_t task) {
    const std::int64_t first = task * kTaskNumbers;
    soft_cap(x + first, std::min(kTaskNumbers, count - first), cap);
  });
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(cap_numbers);

void soft_cap_cpu(float* x, std::int64_t count, float cap, const ParallelFor& parallel_for) {
  HWY_DYNAMIC_DISPATCH(cap_numbers)(x, count, cap, parallel_for);
}

}  // namespace kvcache::kernels
#endif
