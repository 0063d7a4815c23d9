#include "decoding/philox.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace kvcache::decoding {
namespace {

// The known answers of Random123, kat_vectors: philox4x32 10.
static_assert(philox({0, 0, 0, 0}, {0, 0}) ==
              PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
              PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
static_assert(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
              PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});

TEST(Philox, NumbersAreWithinTheirRangeAndDifferWithEachArgument) {
  const double number = uniform(1, 2, 3);
  for (const double other :
       {uniform(2, 2, 3), uniform(1, 3, 3), uniform(1, 2, 4),
        uniform(1 + (std::uint64_t{1} << 32U), 2, 3), uniform(1, 2 + (std::uint64_t{1} << 32U), 3),
        uniform(1, 2, 3 + (std::uint64_t{1} << 32U))}) {
    EXPECT_NE(number, other);
  }
  double sum = 0;
  constexpr int kCount = 100'000;
  for (std::uint64_t position = 0; position < kCount; ++position) {
    const double next = uniform(7, 0, position);
    ASSERT_GE(next, 0);
    ASSERT_LT(next, 1);
    sum += next;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 4.9 * 0.288675 / 316.2);  // 4.9 standard errors: one in a million
}

}  // namespace
}  // namespace kvcache::decoding
