// Ways to run a kernel's tasks without ONNX Runtime.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

#include "base/parallel_for.hpp"

namespace kvcache::test {

class Serial final : public ParallelFor {
  void run(std::int64_t count, const void* task,
           void (*call)(const void*, std::int64_t)) const override {
    for (std::int64_t i = 0; i < count; ++i) {
      call(task, i);
    }
  }
};

class ThreeThreads final : public ParallelFor {
  void run(std::int64_t count, const void* task,
           void (*call)(const void*, std::int64_t)) const override {
    std::vector<std::jthread> threads;
    for (std::int64_t first = 0; first < 3; ++first) {
      threads.emplace_back([=] {
        for (std::int64_t i = first; i < count; i += 3) {
          call(task, i);
        }
      });
    }
  }
};

}  // namespace kvcache::test
