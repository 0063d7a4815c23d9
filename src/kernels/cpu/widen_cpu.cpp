#include "kernels/cpu/widen_cpu.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/widen_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

void widen_float16(const Float16* from, std::int64_t count, float* to) {
  to_float32(from, count, to);
}
void widen_bfloat16(const BFloat16* from, std::int64_t count, float* to) {
  to_float32(from, count, to);
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(widen_float16);
HWY_EXPORT(widen_bfloat16);

void widen_cpu(const Float16* from, std::int64_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(widen_float16)(from, count, to);
}
void widen_cpu(const BFloat16* from, std::int64_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(widen_bfloat16)(from, count, to);
}

}  // namespace kvcache::kernels
#endif
