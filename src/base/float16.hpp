// The two 16-bit floating-point types as they lie in memory, and their conversion from and to
// float32; kernels convert whole vectors themselves.
#pragma once

#include <bit>
#include <cstdint>

namespace kvcache {

/// IEEE 754 binary16.
struct Float16 {
  std::uint16_t bits = 0;

  constexpr Float16() = default;
  /// To nearest, ties to even; from 65,520 on infinity.
  constexpr explicit Float16(float value) noexcept {
    const auto wide = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = wide & 0x7FFF'FFFFU;
    std::uint32_t narrow = 0;
    if (magnitude > 0x7F80'0000U) {
      narrow = 0x7E00;  // NaN
    } else if (magnitude >= 0x4780'0000U) {
      narrow = 0x7C00;  // 65,536 or more
    } else if (magnitude < 0x3880'0000U) {
      // Subnormal, below 2⁻¹⁴: the last place of 0.5 is that of the result.
      const float sum = std::bit_cast<float>(magnitude) + 0.5F;
      narrow = std::bit_cast<std::uint32_t>(sum) - std::bit_cast<std::uint32_t>(0.5F);
    } else {
      const std::uint32_t is_odd = (magnitude >> 13) & 1U;
      narrow = (magnitude - 0x3800'0000U + 0xFFFU + is_odd) >> 13;
    }
    bits = static_cast<std::uint16_t>(((wide >> 16) & 0x8000U) | narrow);
  }

  constexpr explicit operator float() const noexcept {
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const std::uint32_t magnitude = (bits & 0x7FFFU) << 13;
    std::uint32_t wide = magnitude + 0x3800'0000U;
    if (magnitude >= 0x0F80'0000U) {
      wide = magnitude | 0x7F80'0000U;  // infinity and NaN
    } else if (magnitude < 0x0080'0000U) {
      // Subnormal, without making a float32 that is: some programs have those count as zero.
      const float value =
          std::bit_cast<float>(magnitude | 0x3880'0000U) - std::bit_cast<float>(0x3880'0000U);
      wide = std::bit_cast<std::uint32_t>(value);
    }
    return std::bit_cast<float>(sign | wide);
  }
};

/// The upper half of a float32.
struct BFloat16 {
  std::uint16_t bits = 0;

  constexpr BFloat16() = default;
  /// To nearest, ties to even.
  constexpr explicit BFloat16(float value) noexcept {
    const auto wide = std::bit_cast<std::uint32_t>(value);
    if ((wide & 0x7FFF'FFFFU) > 0x7F80'0000U) {
      bits = 0x7FC1;  // NaN, as ONNX Runtime has it
    } else {
      const std::uint32_t is_odd = (wide >> 16) & 1U;
      bits = static_cast<std::uint16_t>((wide + 0x7FFFU + is_odd) >> 16);
    }
  }

  constexpr explicit operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

}  // namespace kvcache
