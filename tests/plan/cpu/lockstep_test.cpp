// Loops that several threads come to.
#include "plan/cpu/lockstep.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <new>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_pool.hpp"
#include "support/random_cases.hpp"

namespace kvcache::plan {
namespace {

using Values = std::vector<std::int64_t>;

/// The way of these tests: each loop's values are the sum of those of the loop before, which every
/// member adds up by itself, and their own number.
std::vector<Values> expected_values(const std::vector<std::size_t>& counts) {
  std::vector<Values> loops;
  std::int64_t sum = 0;
  for (const std::size_t count : counts) {
    Values& values = loops.emplace_back(count);
    std::iota(values.begin(), values.end(), sum);
    sum = std::accumulate(values.begin(), values.end(), std::int64_t{0}) % 1000;
  }
  return loops;
}

TEST(Lockstep, EveryLoopSeesAllOfTheLoopBefore) {
  test::for_random_cases(20, [](test::Random& random) {
    const int members = static_cast<int>(random.integer(1, 5));
    const ThreadPool team(members);
    Lockstep shared(members);
    std::vector<std::size_t> counts(static_cast<std::size_t>(random.integer(1, 30)));
    std::ranges::generate(counts, [&] { return static_cast<std::size_t>(random.integer(1, 9)); });
    for (int way = 0; way < 30; ++way) {
      std::vector<Values> loops;
      std::ranges::transform(counts, std::back_inserter(loops),
                             [](std::size_t count) { return Values(count, -1); });
      shared.begin();
      team.together([&](int member) {
        LockstepFor loop_for(shared, member);
        std::int64_t sum = 0;
        for (Values& values : loops) {
          loop_for(static_cast<std::int64_t>(values.size()),
                   [&](std::int64_t i) { values[static_cast<std::size_t>(i)] += 1 + sum + i; });
          sum = std::accumulate(values.begin(), values.end(), std::int64_t{0}) % 1000;
        }
      });
      ASSERT_EQ(loops, expected_values(counts)) << "each task once, in the order of the loops";
    }
  });
}

TEST(Lockstep, OneMemberDoesTheWorkOfThoseWhoNeverCome) {
  Lockstep shared(4);
  shared.begin();
  LockstepFor loop_for(shared, 2);
  std::vector<int> times(10, 0);
  loop_for(10, [&](std::int64_t i) { ++times[static_cast<std::size_t>(i)]; });
  EXPECT_EQ(times, std::vector<int>(10, 1));
  LockstepFor late(shared, 0);
  late(10, [&](std::int64_t i) { ++times[static_cast<std::size_t>(i)]; });
  EXPECT_EQ(times, std::vector<int>(10, 1)) << "it was done already";
}

TEST(Lockstep, WhatGoesToMemoryOfTheMemberIsNotShared) {
  Lockstep shared(2);
  shared.begin();
  for (int member = 0; member < 2; ++member) {
    const LockstepFor loop_for(shared, member);
    int times = 0;
    loop_for.alone()(7, [&](std::int64_t /*i*/) { ++times; });
    EXPECT_EQ(times, 7);
  }
}

/// Addresses that nobody may read: who does is killed by SIGSEGV.
class UnreadableMemory {
 public:
  UnreadableMemory()
      : addresses_(::mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (addresses_ == MAP_FAILED) {
      throw std::bad_alloc();
    }
  }
  UnreadableMemory(const UnreadableMemory&) = delete;
  UnreadableMemory& operator=(const UnreadableMemory&) = delete;
  ~UnreadableMemory() { ::munmap(addresses_, kSize); }

  [[nodiscard]] std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(addresses_), kSize};
  }

 private:
  static constexpr std::size_t kSize = 1 << 16;
  void* addresses_;
};

TEST(Lockstep, FetchingAheadReadsNothing) {
  const UnreadableMemory memory;
  const std::vector<Upcoming> upcoming{
      {memory.bytes().first(100), false}, {{}, true}, {memory.bytes(), true}};
  Lockstep shared(2);
  const ThreadPool team(2);
  for (int way = 0; way < 20; ++way) {
    shared.begin();
    std::atomic<int> begun{0};
    std::atomic<int> done{0};
    team.together([&](int member) {
      LockstepFor loop_for(shared, member);
      loop_for.prefetch_while_waiting(upcoming);
      loop_for(2, [&](std::int64_t /*i*/) {
        // Whoever has begun the last task keeps the others waiting: they fetch meanwhile.
        if (++begun == 2) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        ++done;
      });
      EXPECT_EQ(done, 2);
    });
  }
}

TEST(Lockstep, AnExceptionEndsTheWayOfAll) {
  const ThreadPool team(3);
  Lockstep shared(3);
  for (int way = 0; way < 50; ++way) {
    shared.begin();
    std::atomic<bool> went_on{false};
    try {
      team.together([&](int member) {
        LockstepFor loop_for(shared, member);
        loop_for(9, [&](std::int64_t i) {
          if (i == way % 9) {
            throw std::runtime_error("task " + std::to_string(i));
          }
        });
        went_on = true;
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "task " + std::to_string(way % 9));
    }
    EXPECT_FALSE(went_on);
  }
}

}  // namespace
}  // namespace kvcache::plan
