#include "base/float16.hpp"

#include <gtest/gtest.h>
#include <onnxruntime_cxx_api.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/rounding.hpp"
#include "support/random_cases.hpp"

namespace kvcache {
namespace {

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

TEST(Float16, ConvertsEveryNumberAsOnnxRuntimeDoes) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto narrow = std::bit_cast<Float16>(static_cast<std::uint16_t>(bits));
    const float expected = Ort::Float16_t::FromBits(narrow.bits).ToFloat();
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(narrow)));
    } else {
      ASSERT_EQ(bits_of(static_cast<float>(narrow)), bits_of(expected)) << bits;
      ASSERT_EQ(Float16(expected).bits, narrow.bits) << bits;
    }
  }
}

TEST(Float16, RoundsAsOnnxRuntimeDoes) {
  test::for_random_cases(2000, [](test::Random& random) {
    for (int i = 0; i < 100; ++i) {
      const auto value = std::bit_cast<float>(
          static_cast<std::uint32_t>(random.integer(0, std::numeric_limits<std::uint32_t>::max())));
      const std::uint16_t expected = Ort::Float16_t(value).val;
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(static_cast<float>(Float16(value))));
      } else {
        ASSERT_EQ(Float16(value).bits, expected) << value;
      }
    }
  });
}

TEST(Float16, TiesGoToTheEvenNeighbour) {
  EXPECT_EQ(Float16(2049.0F).bits, Float16(2048.0F).bits);
  EXPECT_EQ(Float16(2051.0F).bits, Float16(2052.0F).bits);
  EXPECT_EQ(Float16(65519.0F).bits, 0x7BFF);                // the largest
  EXPECT_EQ(Float16(65520.0F).bits, 0x7C00);                // infinity
  EXPECT_EQ(Float16(-std::ldexp(1.0F, -25)).bits, 0x8000);  // half of the smallest
  EXPECT_EQ(Float16(std::ldexp(1.5F, -24)).bits, 2);
}

TEST(BFloat16, IsTheUpperHalfRounded) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto narrow = std::bit_cast<BFloat16>(static_cast<std::uint16_t>(bits));
    EXPECT_EQ(bits_of(static_cast<float>(narrow)), bits << 16);
  }
  test::for_random_cases(2000, [](test::Random& random) {
    for (int i = 0; i < 100; ++i) {
      const auto value = std::bit_cast<float>(
          static_cast<std::uint32_t>(random.integer(0, std::numeric_limits<std::uint32_t>::max())));
      ASSERT_EQ(BFloat16(value).bits, Ort::BFloat16_t(value).val) << value;
    }
  });
}

TEST(Rounding, GivesWholeMultiples) {
  EXPECT_EQ(round_up(std::size_t{0}, 64), 0U);
  EXPECT_EQ(round_up(std::size_t{1}, 64), 64U);
  EXPECT_EQ(round_up(64, 64), 64);
  EXPECT_EQ(divide_up(65, 64), 2);
}

}  // namespace
}  // namespace kvcache
