// Parallel loops inside kernels.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>

#include "base/thread_sanitizer.hpp"

namespace kvcache::ops {

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

/// The session's own thread pool, as lent to a kernel.
class OrtParallelFor final : public ParallelFor {
 public:
  explicit OrtParallelFor(Ort::KernelContext& context) : context_(context) {}

 private:
  void run(std::int64_t count, const void* task,
           void (*call)(const void*, std::int64_t)) const override {
    if (count <= 1) {
      for (std::int64_t i = 0; i < count; ++i) {
        call(task, i);
      }
      return;
    }
    struct Erased {
      const void* task;
      void (*call)(const void*, std::int64_t);
    } erased{task, call};
    publish_work(&erased);
    // As many batches as tasks: the pool hands them out as threads become free.
    context_.ParallelFor(
        [](void* data, std::size_t i) {
          receive_work(data);
          const auto* from = static_cast<const Erased*>(data);
          from->call(from->task, static_cast<std::int64_t>(i));
          publish_work(data);
        },
        static_cast<std::size_t>(count), static_cast<std::size_t>(count), &erased);
    receive_work(&erased);
  }

  Ort::KernelContext& context_;
};

}  // namespace kvcache::ops
