// Parallel loops on ONNX Runtime's threads.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>

#include "base/parallel_for.hpp"
#include "base/thread_sanitizer.hpp"

namespace kvcache::ort {

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
    // An exception must not reach the pool: it would return while others are still at work here.
    struct Erased {
      const void* task;
      void (*call)(const void*, std::int64_t);
      std::atomic_flag failed{};
      std::exception_ptr failure{};
    } erased{task, call};
    publish_work(&erased);
    // As many batches as tasks: the pool hands them out as threads become free.
    context_.ParallelFor(
        [](void* data, std::size_t i) {
          receive_work(data);
          auto* from = static_cast<Erased*>(data);
          try {
            from->call(from->task, static_cast<std::int64_t>(i));
          } catch (...) {
            if (!from->failed.test_and_set()) {
              from->failure = std::current_exception();
            }
          }
          publish_work(data);
        },
        static_cast<std::size_t>(count), static_cast<std::size_t>(count), &erased);
    receive_work(&erased);
    if (erased.failure) {
      std::rethrow_exception(erased.failure);
    }
  }

  Ort::KernelContext& context_;
};

}  // namespace kvcache::ort
