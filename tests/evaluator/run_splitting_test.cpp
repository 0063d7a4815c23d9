#include "evaluator/run_splitting.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>

namespace kvcache::evaluator {
namespace {

using std::chrono::microseconds;

constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

/// 64 clients whose requests take so long in one run, or as two halves beside each other.
struct Clients {
  microseconds whole;
  microseconds halves;
  Clock::time_point now = Clock::time_point{} + std::chrono::hours(1);

  /// Answers `count` requests; how many of them came in halves.
  std::size_t answer(RunSplitting& splitting, std::size_t count) {
    std::size_t in_halves = 0;
    for (std::size_t answered = 0; answered < count; answered += 64) {
      if (splitting.most_rows(64, 0) == kAll) {
        now += whole;
        splitting.count(64, now);
        continue;
      }
      EXPECT_EQ(splitting.most_rows(64, 0), 32U);
      EXPECT_EQ(splitting.most_rows(32, 32), 32U);
      for (int half = 0; half < 2; ++half) {
        now += halves / 2;
        splitting.count(32, now);
      }
      in_halves += 64;
    }
    return in_halves;
  }
};

TEST(RunSplitting, KeepsTheFasterWay) {
  RunSplitting for_halves(2);
  Clients waiting{.whole = microseconds(1600), .halves = microseconds(900)};
  EXPECT_GT(waiting.answer(for_halves, 1'000'000), 900'000U);
  RunSplitting for_whole(2);
  Clients computing{.whole = microseconds(1600), .halves = microseconds(2500)};
  EXPECT_LT(computing.answer(for_whole, 1'000'000), 100'000U);
}

TEST(RunSplitting, NoticesWhenTheOtherBecomesFaster) {
  RunSplitting splitting(2);
  Clients clients{.whole = microseconds(1000), .halves = microseconds(1500)};
  clients.answer(splitting, 300'000);
  clients.halves = microseconds(500);
  clients.answer(splitting, 200'000);
  EXPECT_EQ(clients.answer(splitting, 64), 64U);
}

TEST(RunSplitting, LeavesFewRowsAndOneRunAtATimeWhole) {
  RunSplitting one(1);
  RunSplitting two(2);
  Clients clients{.whole = microseconds(1000), .halves = microseconds(100)};
  EXPECT_EQ(clients.answer(one, 100'000), 0U);
  clients.answer(two, 10'000);
  EXPECT_EQ(two.most_rows(31, 0), kAll);
  EXPECT_EQ(two.most_rows(16, 15), kAll);
}

}  // namespace
}  // namespace kvcache::evaluator
