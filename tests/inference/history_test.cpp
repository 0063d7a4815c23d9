// Whatever a program does with cached sequences, in any order: the logits are those of a plain
// forward over each one's tokens, and no block is lost.
#include "support/history.hpp"

#include <gtest/gtest.h>

namespace kvcache {
namespace {

TEST(History, EveryStepEqualsAPlainForward) {
  test::for_random_cases(20, [](test::Random& random) {
    const Model model = test::load_poisoned(random);
    test::History history(random, model, true);
    for (int i = 0; i < 30 && !testing::Test::HasFailure(); ++i) {
      history.step();
      history.check();
    }
    history.clear();
    EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
    model.check_cache_invariants();
    model.trim_cache();
    EXPECT_EQ(model.cache_stats().bytes_allocated, 0U);
    model.check_cache_invariants();
  });
}

}  // namespace
}  // namespace kvcache
