// Sums of four products of bytes: unsigned weights times signed activations.
//
// Included once per SIMD target (Highway's foreach_target), hence the unusual guard.
#if defined(KVCACHE_KERNELS_INTEGER_DOT_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCACHE_KERNELS_INTEGER_DOT_INL_HPP_
#undef KVCACHE_KERNELS_INTEGER_DOT_INL_HPP_
#else
#define KVCACHE_KERNELS_INTEGER_DOT_INL_HPP_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

// Targets are numbered from the best on.
#undef KVCACHE_INTEGER_DOT
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
#define KVCACHE_INTEGER_DOT 2  // one instruction
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
#define KVCACHE_INTEGER_DOT 1  // products of pairs of 16 bits
#else
#define KVCACHE_INTEGER_DOT 0
#endif

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The four activations of a group, for every lane.
HWY_INLINE std::int32_t load_group(const std::int8_t* from) {
  std::int32_t group = 0;
  std::memcpy(&group, from, sizeof group);
  return group;
}

#if KVCACHE_INTEGER_DOT == 2

using IntegerTag = hn::ScalableTag<std::int32_t>;
using Sums = hn::Vec<IntegerTag>;
using WeightGroups = Sums;  // four unsigned bytes a lane
using ActivationGroup = Sums;

HWY_INLINE Sums sums_from(std::int32_t value) { return hn::Set(IntegerTag(), value); }
HWY_INLINE WeightGroups weight_groups(Sums bytes) { return bytes; }
HWY_INLINE ActivationGroup activation_group(const std::int8_t* from) {
  return hn::Set(IntegerTag(), load_group(from));
}
/// sums + Σ weight · activation over the four bytes of each lane.
HWY_INLINE Sums add_products(Sums sums, WeightGroups weights, ActivationGroup activations) {
  // Highway 1.0 dispatches to this target where the processor has AVX-512 VNNI, but does not tell
  // the compiler, which then refuses the intrinsic.
  asm("vpdpbusd %2, %1, %0" : "+v"(sums.raw) : "v"(weights.raw), "v"(activations.raw));
  return sums;
}
HWY_INLINE hn::Vec<hn::ScalableTag<float>> float_sums(Sums sums) {
  return hn::ConvertTo(hn::ScalableTag<float>(), sums);
}

#elif KVCACHE_INTEGER_DOT == 1

using IntegerTag = hn::ScalableTag<std::int32_t>;
using Sums = hn::Vec<IntegerTag>;
using PairTag = hn::Repartition<std::int16_t, IntegerTag>;
struct WeightGroups {
  hn::Vec<PairTag> even, odd;
};
using ActivationGroup = WeightGroups;

HWY_INLINE Sums sums_from(std::int32_t value) { return hn::Set(IntegerTag(), value); }
HWY_INLINE WeightGroups weight_groups(Sums bytes) {
  const PairTag pairs;
  const hn::RebindToUnsigned<PairTag> unsigned_pairs;
  const auto both = hn::BitCast(unsigned_pairs, bytes);
  return {hn::BitCast(pairs, hn::And(both, hn::Set(unsigned_pairs, 0xFF))),
          hn::BitCast(pairs, hn::ShiftRight<8>(both))};
}
HWY_INLINE ActivationGroup activation_group(const std::int8_t* from) {
  const auto both = hn::BitCast(PairTag(), hn::Set(IntegerTag(), load_group(from)));
  return {hn::ShiftRight<8>(hn::ShiftLeft<8>(both)), hn::ShiftRight<8>(both)};
}
/// sums + Σ weight · activation over the four bytes of each lane. (Products of bytes added in 16
/// bits, as the older instruction has them, could overflow.)
HWY_INLINE Sums add_products(Sums sums, const WeightGroups& weights,
                             const ActivationGroup& activations) {
  auto unused = hn::Zero(IntegerTag());
  sums = hn::ReorderWidenMulAccumulate(IntegerTag(), weights.even, activations.even, sums, unused);
  return hn::ReorderWidenMulAccumulate(IntegerTag(), weights.odd, activations.odd, sums, unused);
}
HWY_INLINE hn::Vec<hn::ScalableTag<float>> float_sums(Sums sums) {
  return hn::ConvertTo(hn::ScalableTag<float>(), sums);
}

#else

// In float32, which is exact: with blocks of at most 256, sums stay below 2²⁴.
using IntegerTag = hn::ScalableTag<std::int32_t>;
using Sums = hn::Vec<hn::ScalableTag<float>>;
struct WeightGroups {
  // Written out: a constructor that the compiler makes is not of the target's instruction set, and
  // NEON's vectors have one that must be inlined into it.
  HWY_INLINE WeightGroups() {}  // NOLINT(modernize-use-equals-default)
  HWY_INLINE WeightGroups(Sums first, Sums second, Sums third, Sums fourth)
      : values{first, second, third, fourth} {}

  Sums values[4];
};
struct ActivationGroup {
  float values[4];
};

HWY_INLINE Sums sums_from(std::int32_t value) {
  return hn::Set(hn::ScalableTag<float>(), static_cast<float>(value));
}
HWY_INLINE WeightGroups weight_groups(hn::Vec<IntegerTag> bytes) {
  const hn::ScalableTag<float> df;
  const IntegerTag di;
  const auto low = hn::Set(di, 0xFF);
  return {hn::ConvertTo(df, hn::And(bytes, low)),
          hn::ConvertTo(df, hn::And(hn::ShiftRight<8>(bytes), low)),
          hn::ConvertTo(df, hn::And(hn::ShiftRight<16>(bytes), low)),
          hn::ConvertTo(df, hn::And(hn::ShiftRight<24>(bytes), low))};
}
HWY_INLINE ActivationGroup activation_group(const std::int8_t* from) {
  return {{static_cast<float>(from[0]), static_cast<float>(from[1]), static_cast<float>(from[2]),
           static_cast<float>(from[3])}};
}
/// sums + Σ weight · activation over the four bytes of each lane.
HWY_INLINE Sums add_products(Sums sums, const WeightGroups& weights,
                             const ActivationGroup& activations) {
  for (int i = 0; i < 4; ++i) {
    const auto activation = hn::Set(hn::ScalableTag<float>(), activations.values[i]);
    sums = hn::MulAdd(weights.values[i], activation, sums);
  }
  return sums;
}
HWY_INLINE hn::Vec<hn::ScalableTag<float>> float_sums(Sums sums) { return sums; }

#endif

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
