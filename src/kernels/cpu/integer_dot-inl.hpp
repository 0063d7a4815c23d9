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
#define KVCACHE_INTEGER_DOT 1  // pairs of products in 16 bits
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

using IntegerTag = hn::ScalableTag<std::int32_t>;
using IntegerVector = hn::Vec<IntegerTag>;
using FloatTag = hn::ScalableTag<float>;

/// What sums up weights of kBits, as unsigned bytes, four a lane, times activations:
///
/// - `Weights` is what `weights` makes of four bytes a lane, `Activations` what `activations` makes
///   of a group;
/// - `Partial` sums hold `add` of kPartialInputs inputs exactly, and `Sums` those of a block, which
///   `add_partial` adds them to; they begin with `zero` and `sums_from`;
/// - where kSigned, weights count from the middle of their range, 2^(kBits − 1), on.
template <int kBits>
struct IntegerDot;

#if KVCACHE_INTEGER_DOT == 2

template <int kBits>
struct IntegerDot {
  using Weights = IntegerVector;
  using Activations = IntegerVector;
  using Partial = IntegerVector;
  using Sums = IntegerVector;
  static constexpr bool kSigned = false;
  static constexpr std::int64_t kPartialInputs = 256;

  static HWY_INLINE Partial zero() { return hn::Zero(IntegerTag()); }
  static HWY_INLINE Sums sums_from(std::int32_t value) { return hn::Set(IntegerTag(), value); }
  static HWY_INLINE Weights weights(IntegerVector bytes) { return bytes; }
  static HWY_INLINE Activations activations(const std::int8_t* from) {
    return hn::Set(IntegerTag(), load_group(from));
  }
  static HWY_INLINE Partial add(Partial sums, Weights weights, Activations activations) {
    // Highway 1.0 dispatches to this target where the processor has AVX-512 VNNI, but does not tell
    // the compiler, which then refuses the intrinsic.
    asm("vpdpbusd %2, %1, %0" : "+v"(sums.raw) : "v"(weights.raw), "v"(activations.raw));
    return sums;
  }
  static HWY_INLINE Sums add_partial(Sums sums, Partial partial) { return hn::Add(sums, partial); }
  static HWY_INLINE hn::Vec<FloatTag> floats(Sums sums) { return hn::ConvertTo(FloatTag(), sums); }
};

#elif KVCACHE_INTEGER_DOT == 1

using PairTag = hn::Repartition<std::int16_t, IntegerTag>;
using PairVector = hn::Vec<PairTag>;

/// Unsigned bytes times signed ones, each two neighbours added in 16 bits.
HWY_INLINE PairVector neighbour_products(IntegerVector unsigned_bytes, IntegerVector bytes) {
#if HWY_MAX_BYTES == 64
  return PairVector{_mm512_maddubs_epi16(unsigned_bytes.raw, bytes.raw)};
#elif HWY_MAX_BYTES == 32
  return PairVector{_mm256_maddubs_epi16(unsigned_bytes.raw, bytes.raw)};
#else
  return PairVector{_mm_maddubs_epi16(unsigned_bytes.raw, bytes.raw)};
#endif
}

/// Bytes, negated where those of `sign` are negative, anything where these are 0.
HWY_INLINE IntegerVector with_signs_of(IntegerVector sign, IntegerVector bytes) {
#if HWY_MAX_BYTES == 64
  const __mmask64 negative = _mm512_movepi8_mask(sign.raw);
  return IntegerVector{
      _mm512_mask_sub_epi8(bytes.raw, negative, _mm512_setzero_si512(), bytes.raw)};
#elif HWY_MAX_BYTES == 32
  return IntegerVector{_mm256_sign_epi8(bytes.raw, sign.raw)};
#else
  return IntegerVector{_mm_sign_epi8(bytes.raw, sign.raw)};
#endif
}

/// Each two neighbours of 16 bits added in 32.
HWY_INLINE IntegerVector neighbour_sums(PairVector pairs) {
  auto unused = hn::Zero(IntegerTag());
  return hn::ReorderWidenMulAccumulate(IntegerTag(), pairs, hn::Set(PairTag(), 1),
                                       hn::Zero(IntegerTag()), unused);
}

/// What both widths have in common.
struct IntegerDotOfPairs {
  using Activations = IntegerVector;
  using Sums = IntegerVector;

  static HWY_INLINE Sums sums_from(std::int32_t value) { return hn::Set(IntegerTag(), value); }
  static HWY_INLINE Activations activations(const std::int8_t* from) {
    return hn::Set(IntegerTag(), load_group(from));
  }
  static HWY_INLINE hn::Vec<FloatTag> floats(Sums sums) { return hn::ConvertTo(FloatTag(), sums); }
};

/// Of 32 inputs, each lane of 16 bits adds 16 products, of at most 15 · 127 each: less than 2^15.
template <>
struct IntegerDot<4> : IntegerDotOfPairs {
  using Weights = IntegerVector;
  using Partial = PairVector;
  static constexpr bool kSigned = false;
  static constexpr std::int64_t kPartialInputs = 32;

  static HWY_INLINE Partial zero() { return hn::Zero(PairTag()); }
  static HWY_INLINE Weights weights(IntegerVector bytes) { return bytes; }
  static HWY_INLINE Partial add(Partial sums, Weights weights, Activations activations) {
    sums = hn::Add(sums, neighbour_products(weights, activations));
    // One after the other: in an order of its own, GCC runs out of registers.
    asm("" : "+v"(sums.raw));
    return sums;
  }
  static HWY_INLINE Sums add_partial(Sums sums, Partial partial) {
    return hn::Add(sums, neighbour_sums(partial));
  }
};

/// Two products of unsigned bytes with signed ones would not fit into 16 bits. Those of magnitudes
/// of at most 128 do, at 2 · 128 · 127 < 2^15: the sign goes to the activation.
template <>
struct IntegerDot<8> : IntegerDotOfPairs {
  struct Weights {
    IntegerVector values, magnitudes;
  };
  using Partial = IntegerVector;
  static constexpr bool kSigned = true;
  static constexpr std::int64_t kPartialInputs = 256;

  static HWY_INLINE Partial zero() { return hn::Zero(IntegerTag()); }
  static HWY_INLINE Weights weights(IntegerVector bytes) {
    const hn::Repartition<std::int8_t, IntegerTag> di8;
    const auto values = hn::Xor(hn::BitCast(di8, bytes), hn::Set(di8, -128));
    // Of -128, the bits of its magnitude as an unsigned byte.
    return {hn::BitCast(IntegerTag(), values), hn::BitCast(IntegerTag(), hn::Abs(values))};
  }
  static HWY_INLINE Partial add(Partial sums, const Weights& weights, Activations activations) {
    const auto pairs =
        neighbour_products(weights.magnitudes, with_signs_of(weights.values, activations));
    sums = hn::Add(sums, neighbour_sums(pairs));
    asm("" : "+v"(sums.raw));  // as above
    return sums;
  }
  static HWY_INLINE Sums add_partial(Sums sums, Partial partial) { return hn::Add(sums, partial); }
};

#else

/// In float32, which is exact: with blocks of at most 256, sums stay below 2^24.
template <int kBits>
struct IntegerDot {
  using Sums = hn::Vec<FloatTag>;
  using Partial = Sums;
  struct Weights {
    // Written out: a constructor that the compiler makes is not of the target's instruction set,
    // and NEON's vectors have one that must be inlined into it.
    HWY_INLINE Weights() {}  // NOLINT(modernize-use-equals-default)
    HWY_INLINE Weights(Sums first, Sums second, Sums third, Sums fourth)
        : values{first, second, third, fourth} {}

    Sums values[4];
  };
  struct Activations {
    float values[4];
  };
  static constexpr bool kSigned = false;
  static constexpr std::int64_t kPartialInputs = 256;

  static HWY_INLINE Partial zero() { return hn::Zero(FloatTag()); }
  static HWY_INLINE Sums sums_from(std::int32_t value) {
    return hn::Set(FloatTag(), static_cast<float>(value));
  }
  static HWY_INLINE Weights weights(IntegerVector bytes) {
    const FloatTag df;
    const auto low = hn::Set(IntegerTag(), 0xFF);
    return {hn::ConvertTo(df, hn::And(bytes, low)),
            hn::ConvertTo(df, hn::And(hn::ShiftRight<8>(bytes), low)),
            hn::ConvertTo(df, hn::And(hn::ShiftRight<16>(bytes), low)),
            hn::ConvertTo(df, hn::And(hn::ShiftRight<24>(bytes), low))};
  }
  static HWY_INLINE Activations activations(const std::int8_t* from) {
    return {{static_cast<float>(from[0]), static_cast<float>(from[1]), static_cast<float>(from[2]),
             static_cast<float>(from[3])}};
  }
  static HWY_INLINE Partial add(Partial sums, const Weights& weights,
                                const Activations& activations) {
    for (int i = 0; i < 4; ++i) {
      const auto activation = hn::Set(FloatTag(), activations.values[i]);
      sums = hn::MulAdd(weights.values[i], activation, sums);
    }
    return sums;
  }
  static HWY_INLINE Sums add_partial(Sums sums, Partial partial) { return hn::Add(sums, partial); }
  static HWY_INLINE hn::Vec<FloatTag> floats(Sums sums) { return sums; }
};

#endif

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
