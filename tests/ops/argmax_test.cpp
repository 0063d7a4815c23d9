#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ops/cpu/argmax_cpu.hpp"
#include "support/random_cases.hpp"

namespace kvcache::ops {
namespace {

TEST(Argmax, FindsTheFirstLargestOfAnyCount) {
  test::for_random_cases(200, [](test::Random& random) {
    std::vector<float> values(static_cast<std::size_t>(random.integer(1, 300)));
    // Few distinct values, so that ties are common.
    std::generate(values.begin(), values.end(),
                  [&] { return static_cast<float>(random.integer(-4, 4)); });
    const auto expected = std::max_element(values.begin(), values.end()) - values.begin();
    EXPECT_EQ(argmax_cpu(values.data(), static_cast<std::int64_t>(values.size())), expected);
  });
}

TEST(Argmax, HandlesAllNegativeValues) {
  const std::vector<float> values{-5.0F, -2.0F, -3.0F};
  EXPECT_EQ(argmax_cpu(values.data(), 3), 1);
}

}  // namespace
}  // namespace kvcache::ops
