#include "cache/window.hpp"

#include <gtest/gtest.h>

#include "support/random_cases.hpp"

namespace kvcache::cache {
namespace {

TEST(Window, KeepsAllUpToItsCapacityThenSlides) {
  constexpr Window kWindow{.size = 6, .stride = 4, .sinks = 2};
  static_assert(kWindow.kept(0) == 0);
  static_assert(kWindow.kept(10) == 10);
  static_assert(kWindow.kept(11) == 7);  // 6 of the text before, and the new token
  static_assert(kWindow.kept(14) == 10);
  static_assert(kWindow.kept(15) == 7);
  static_assert(kWindow.left(15) == 8);
}

TEST(Window, TokensLeaveForGoodAndStrideAtATime) {
  test::for_random_cases(50, [](test::Random& random) {
    const auto size = static_cast<std::size_t>(random.integer(1, 40));
    const Window window{
        .size = size,
        .stride = static_cast<std::size_t>(random.integer(1, 40)),
        .sinks = static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(size) - 1))};
    for (std::size_t length = 1; length < 500; ++length) {
      const std::size_t leaving = window.left(length) - window.left(length - 1);
      ASSERT_LE(window.kept(length), window.capacity());
      ASSERT_TRUE(leaving == 0 || leaving == window.stride) << "at " << length;
      ASSERT_TRUE(leaving == 0 || window.kept(length - 1) == window.capacity());
      ASSERT_TRUE(leaving == 0 || window.kept(length) == window.size + 1);
    }
  });
}

}  // namespace
}  // namespace kvcache::cache
