// The threads of this process, counted.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <thread>

namespace kvcache::test {

inline std::ptrdiff_t threads_of_process() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
}

/// A thread that was joined is gone from there a moment later.
inline void expect_threads(std::ptrdiff_t expected) {
  for (int i = 0; i < 1000 && threads_of_process() != expected; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(threads_of_process(), expected);
}

}  // namespace kvcache::test
