// The pool of threads that our nodes run on.
#include "base/thread_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache {
namespace {

TEST(ThreadPool, DoesEveryTaskOnceWhateverItsSize) {
  test::for_random_cases(20, [](test::Random& random) {
    const ThreadPool team(static_cast<int>(random.integer(1, 5)));
    for (int round = 0; round < 50; ++round) {
      std::vector<int> times(static_cast<std::size_t>(random.integer(0, 40)), 0);
      team(static_cast<std::int64_t>(times.size()),
           [&](std::int64_t i) { ++times[static_cast<std::size_t>(i)]; });
      ASSERT_TRUE(std::ranges::all_of(times, [](int count) { return count == 1; }));
    }
  });
}

TEST(ThreadPool, ThreadsThatSleepAreWoken) {
  const ThreadPool team(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // they wait awake for one
    std::atomic<int> inside{0};
    team.together([&](int /*member*/) {
      ++inside;
      while (inside.load() < 2) {
        std::this_thread::yield();
      }
    });
    EXPECT_EQ(inside, 2);
  }
}

TEST(ThreadPool, MembersHaveNumbersOfTheirOwn) {
  const ThreadPool team(4);
  std::mutex mutex;
  std::multiset<int> members;
  for (int round = 0; round < 100; ++round) {
    members.clear();
    team.together([&](int member) {
      const std::scoped_lock lock(mutex);
      members.insert(member);
    });
    ASSERT_EQ(members.count(0), 1U) << "the thread that calls";
    for (const int member : members) {
      ASSERT_EQ(members.count(member), 1U);
      ASSERT_LT(member, team.size());
    }
  }
}

TEST(ThreadPool, CallersAtTheSameTimeGetTheirOwnWorkDone) {
  const ThreadPool team(3);
  constexpr int kCallers = 12;  // more than it has places for
  std::vector<std::jthread> callers;
  callers.reserve(kCallers);
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&team] {
      for (int round = 0; round < 200; ++round) {
        std::atomic<std::int64_t> sum{0};
        team(20, [&](std::int64_t i) { sum += i; });
        EXPECT_EQ(sum, 190);
      }
    });
  }
}

TEST(ThreadPool, AnExceptionReachesTheCallerWhoeverThrewIt) {
  const ThreadPool team(3);
  for (std::int64_t bad = 0; bad < 8; ++bad) {
    const auto throw_at = [&](std::int64_t i) {
      if (i == bad) {
        throw std::runtime_error("task " + std::to_string(bad));
      }
    };
    try {
      team(8, throw_at);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "task " + std::to_string(bad));
    }
  }
  std::atomic<int> done{0};
  team(8, [&](std::int64_t /*i*/) { ++done; });
  EXPECT_EQ(done, 8) << "the pool of threads goes on";
}

}  // namespace
}  // namespace kvcache
