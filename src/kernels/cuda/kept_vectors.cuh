// Keys and values as the cache keeps them, each a vector divided among neighbouring lanes: of
// float32, of 16 bits, or of int8 with the vector's scale behind its elements (docs/MODEL_FILE.md).
#pragma once

#include <type_traits>

#include "kernels/cuda/device_code.cuh"

namespace kvcache::kernels {

__device__ inline float to_float(std::int8_t value) { return static_cast<float>(value); }
/// Of a whole number between −127 and 127.
template <>
__device__ inline std::int8_t from_float(float value) {
  return static_cast<std::int8_t>(__float2int_rn(value));
}

/// A lane's part of a vector of Cache's elements.
template <typename Cache, int kVector, int kChunks>
struct KeptPart {
  Vector<Cache, kVector> chunks[kChunks];
};

/// Of int8, what the elements are multiplied with.
template <int kVector, int kChunks>
struct KeptPart<std::int8_t, kVector, kChunks> {
  Vector<std::int8_t, kVector> chunks[kChunks];
  __nv_bfloat16 scale;
};

template <typename Cache, int kVector, int kChunks>
__device__ float scale_of(const KeptPart<Cache, kVector, kChunks>& part) {
  if constexpr (std::is_same_v<Cache, std::int8_t>) {
    return __bfloat162float(part.scale);
  } else {
    return 1.0F;
  }
}

/// Whether a vector's scale lies on an even address.
template <int kVector>
constexpr bool kEvenScale = kVector % 2 == 0;

template <int kVector>
__device__ __nv_bfloat16 load_scale(const std::int8_t* from) {
  if constexpr (kEvenScale<kVector>) {
    return *reinterpret_cast<const __nv_bfloat16*>(from);
  } else {
    const auto byte = [&](int i) {
      return static_cast<unsigned>(static_cast<unsigned char>(from[i]));
    };
    return __ushort_as_bfloat16(static_cast<unsigned short>(byte(0) | byte(1) << 8U));
  }
}

template <int kVector>
__device__ void store_scale(__nv_bfloat16 scale, std::int8_t* to) {
  if constexpr (kEvenScale<kVector>) {
    *reinterpret_cast<__nv_bfloat16*>(to) = scale;
  } else {
    const unsigned short bits = __bfloat16_as_ushort(scale);
    to[0] = static_cast<std::int8_t>(bits & 0xFFU);
    to[1] = static_cast<std::int8_t>(bits >> 8U);
  }
}

/// What is kept of a lane's part `x` of a new vector, which `kLanes` neighbouring lanes have: they
/// all take part, other lanes need not.
template <typename Cache, int kLanes, typename T, int kVector, int kChunks>
__device__ void keep(const Vector<T, kVector> (&x)[kChunks],
                     KeptPart<Cache, kVector, kChunks>& kept) {
  const auto for_each = [&](const auto& work) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        work(x[c].elements[i], kept.chunks[c].elements[i]);
      }
    }
  };
  if constexpr (std::is_same_v<Cache, T>) {
    for_each([](T element, Cache& to) { to = element; });
  } else if constexpr (std::is_same_v<Cache, std::int8_t>) {
    constexpr unsigned kSmallest = 0x0DA24260U;  // 1e-30, so that zeros have an inverse
    unsigned largest = kSmallest;                // as bits: NaN and Inf are larger than all numbers
    for_each([&](T element, Cache&) {
      largest = max(largest, __float_as_uint(to_float(element)) & 0x7FFFFFFFU);
    });
    const unsigned lanes = (1U << kLanes) - 1U << (threadIdx.x % 32 / kLanes * kLanes);
#pragma unroll
    for (int offset = kLanes / 2; offset > 0; offset /= 2) {
      largest = max(largest, __shfl_xor_sync(lanes, largest, offset));
    }
    const float maximum = __uint_as_float(largest);
    kept.scale = __float2bfloat16_rn(largest < 0x7F800000U ? maximum / 127.0F : nanf(""));
    const float inverse = 1.0F / __bfloat162float(kept.scale);
    for_each([&](T element, Cache& to) { to = from_float<Cache>(to_float(element) * inverse); });
  } else {
    for_each([](T element, Cache& to) { to = from_float<Cache>(to_float(element)); });
  }
}

}  // namespace kvcache::kernels
