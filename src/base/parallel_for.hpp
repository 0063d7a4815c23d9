// Parallel loops inside kernels.
#pragma once

#include <cstdint>

namespace kvcache {

/// Runs `task(i)` for every i in [0, count), in any order, on the threads of whoever called.
class ParallelFor {
 public:
  ParallelFor() = default;
  ParallelFor(const ParallelFor&) = delete;
  ParallelFor& operator=(const ParallelFor&) = delete;
  virtual ~ParallelFor() = default;

  /// For loops whose results go to memory of the calling thread: where several threads come to the
  /// same loop (lockstep.hpp), each needs all of them.
  [[nodiscard]] virtual const ParallelFor& alone() const noexcept { return *this; }
  /// Whether tasks that follow each other are mostly done by one thread, so that what lies behind
  /// the memory of one task is fetched for the next.
  [[nodiscard]] virtual bool keeps_neighbours() const noexcept { return false; }

  template <typename Task>
  void operator()(std::int64_t count, const Task& task) const {
    run(count, &task,
        [](const void* erased, std::int64_t i) { (*static_cast<const Task*>(erased))(i); });
  }

 private:
  virtual void run(std::int64_t count, const void* task,
                   void (*call)(const void* task, std::int64_t i)) const = 0;
};

/// The calling thread alone.
class Alone final : public ParallelFor {
 private:
  void run(std::int64_t count, const void* task,
           void (*call)(const void*, std::int64_t)) const override {
    for (std::int64_t i = 0; i < count; ++i) {
      call(task, i);
    }
  }
};

}  // namespace kvcache
