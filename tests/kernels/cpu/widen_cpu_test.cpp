// Every value of 16 bits, on every instruction set.
#include "kernels/cpu/widen_cpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "support/instruction_sets.hpp"
#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

class Widen : public test::OnInstructionSet {
 protected:
  /// In pieces of any length, so that every value meets whole vectors and what is left of them.
  template <typename T>
  static void check_every_value() {
    std::vector<T> from(1 << 16);
    for (std::size_t bits = 0; bits < from.size(); ++bits) {
      from[bits] = std::bit_cast<T>(static_cast<std::uint16_t>(bits));
    }
    test::for_random_cases(10, [&](test::Random& random) {
      std::vector<float> to(from.size() + 1, 7.0F);
      for (std::size_t first = 0; first < from.size();) {
        const auto left = static_cast<std::int64_t>(from.size() - first);
        const std::int64_t count = std::min(left, random.integer(0, 150));
        widen_cpu(from.data() + first, count, to.data() + first);
        first += static_cast<std::size_t>(count);
      }
      for (std::size_t bits = 0; bits < from.size(); ++bits) {
        const auto expected = static_cast<float>(from[bits]);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(to[bits])) << bits;
        } else {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(to[bits]), std::bit_cast<std::uint32_t>(expected))
              << bits;
        }
      }
      ASSERT_EQ(to.back(), 7.0F) << "behind the end";
    });
  }
};

TEST_P(Widen, KeepsEveryFloat16) { check_every_value<Float16>(); }

TEST_P(Widen, KeepsEveryBFloat16) { check_every_value<BFloat16>(); }

INSTANTIATE_TEST_SUITE_P(Targets, Widen, test::all_instruction_sets(), test::instruction_set_name);

}  // namespace
}  // namespace kvcache::kernels
