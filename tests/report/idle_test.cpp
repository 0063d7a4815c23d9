#include "report/idle.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

namespace kvcache::report {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

/// A process with threads that work for so long.
struct Process {
  nanoseconds works_until;
  nanoseconds now = 0ns;

  ProcessClock clock() {
    return {.cpu_time = [this] { return std::min(now, works_until); },
            .sleep = [this](nanoseconds step) { now += step; }};
  }
};

TEST(WaitUntilIdle, WaitsForThreadsThatWork) {
  Process process{.works_until = 40ms};
  wait_until_idle(process.clock());
  EXPECT_GE(process.now, 40ms);
  EXPECT_LE(process.now, 45ms);
}

TEST(WaitUntilIdle, ReturnsAtOnceWhereNothingWorks) {
  Process process{.works_until = 0ms};
  wait_until_idle(process.clock());
  EXPECT_LE(process.now, 5ms);
}

TEST(WaitUntilIdle, GivesUpOnThreadsThatWorkOn) {
  Process process{.works_until = 1h};
  wait_until_idle(process.clock());
  EXPECT_EQ(process.now, 200ms);
}

TEST(WaitUntilIdle, SeesTheCpuTimeOfThisProcess) {
  const ProcessClock clock = ProcessClock::of_this_process();
  const nanoseconds before = clock.cpu_time();
  while (clock.cpu_time() == before) {
  }
  EXPECT_GT(clock.cpu_time(), before);
}

}  // namespace
}  // namespace kvcache::report
