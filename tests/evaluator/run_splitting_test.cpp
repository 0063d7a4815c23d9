#include "evaluator/run_splitting.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <limits>

namespace kvcache::evaluator {
namespace {

using std::chrono::microseconds;

constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

/// 60 clients whose requests take so long in one run, or in two or three beside each other.
struct Clients {
  std::array<microseconds, 3> of_parts;
  Clock::time_point now = Clock::time_point{} + std::chrono::hours(1);

  /// Answers `count` requests; how many of them came in so many parts.
  std::array<std::size_t, 3> answer(RunSplitting& splitting, std::size_t count) {
    std::array<std::size_t, 3> came{};
    for (std::size_t answered = 0; answered < count; answered += 60) {
      const std::size_t most = splitting.most_rows(60, 0);
      const std::size_t parts = most == kAll ? 1 : 60 / most;
      for (std::size_t part = 0; part < parts; ++part) {
        if (part > 0 && splitting.most_rows(60, 0) == most) {  // no other way is tried since
          EXPECT_EQ(splitting.most_rows(60 - part * most, part * most), most);
        }
        now += of_parts[parts - 1] / parts;
        splitting.count(60 / parts, now);
      }
      came[parts - 1] += 60;
    }
    return came;
  }
};

TEST(RunSplitting, KeepsTheFastestWay) {
  for (std::size_t best = 0; best < 3; ++best) {
    RunSplitting splitting(3);
    Clients clients{{microseconds(1600), microseconds(1700), microseconds(1500)}};
    clients.of_parts[best] = microseconds(900);
    EXPECT_GT(clients.answer(splitting, 1'000'000)[best], 930'000U) << 1 + best;
  }
}

TEST(RunSplitting, NoticesWhenAnotherWayBecomesFaster) {
  RunSplitting splitting(3);
  Clients clients{{microseconds(1000), microseconds(1500), microseconds(1500)}};
  clients.answer(splitting, 300'000);
  clients.of_parts[2] = microseconds(500);
  clients.answer(splitting, 600'000);  // the best had been so twice
  EXPECT_EQ(clients.answer(splitting, 60)[2], 60U);
}

TEST(RunSplitting, TriesLessOftenWhatIsTheBestAgainAndAgain) {
  RunSplitting splitting(3);
  Clients clients{{microseconds(1000), microseconds(1500), microseconds(1500)}};
  const auto tried = [&](std::size_t requests) {
    return requests - clients.answer(splitting, requests)[0];
  };
  EXPECT_GT(tried(600'000), 12'000U);
  tried(6'000'000);
  const std::size_t of_many = tried(6'000'000);
  EXPECT_GT(of_many, 16'000U);  // twice or three times
  EXPECT_LT(of_many, 33'000U);
}

TEST(RunSplitting, LeavesFewRowsAndOneRunAtATimeWhole) {
  RunSplitting one(1);
  RunSplitting two(2);
  Clients clients{{microseconds(1000), microseconds(100), microseconds(100)}};
  EXPECT_EQ(clients.answer(one, 100'000)[0], 100'020U);
  EXPECT_FALSE(one.is_worth_a_run(60, 60, 1));
  clients.answer(two, 10'000);
  EXPECT_EQ(two.most_rows(31, 0), kAll);
  EXPECT_EQ(two.most_rows(16, 15), kAll);
  EXPECT_FALSE(two.is_worth_a_run(16, 15, 1));
}

TEST(RunSplitting, HalfOfItsShareIsWorthARun) {
  RunSplitting splitting(3);
  Clients clients{{microseconds(1000), microseconds(900), microseconds(300)}};
  clients.answer(splitting, 20'000);
  ASSERT_EQ(splitting.most_rows(60, 0), 20U);
  EXPECT_TRUE(splitting.is_worth_a_run(9, 40, 2));   // of 49, a third is 17
  EXPECT_FALSE(splitting.is_worth_a_run(7, 40, 2));  // of 47, 16
  EXPECT_TRUE(splitting.is_worth_a_run(8, 24, 1));
  EXPECT_FALSE(splitting.is_worth_a_run(30, 30, 3));  // as many as there may be
}

}  // namespace
}  // namespace kvcache::evaluator
