// Parallel loops on ONNX Runtime's threads.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <cstdint>

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

}  // namespace kvcache::ort
