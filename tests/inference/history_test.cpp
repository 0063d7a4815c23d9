// Whatever a program does with cached sequences, in any order: the logits are those of a plain
// forward over each one's tokens, and no block is lost.
#include "support/history.hpp"

#include <gtest/gtest.h>

namespace kvcache {
namespace {

TEST(History, EveryStepEqualsAPlainForward) {
  test::for_random_cases(20, [](test::Random& random) {
    const Model model = test::load_poisoned(random);
    test::History(random, model, true).run(30);
  });
}

}  // namespace
}  // namespace kvcache
