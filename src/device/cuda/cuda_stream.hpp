// The order of work on the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

namespace kvcache::device {

/// A mutex that threads get in the order in which they asked: those that decode side by side
/// advance side by side.
class FairMutex {
 public:
  void lock() noexcept {
    const unsigned ticket = next_.fetch_add(1, std::memory_order_relaxed);
    for (unsigned now = serving_.load(std::memory_order_acquire); now != ticket;
         now = serving_.load(std::memory_order_acquire)) {
      serving_.wait(now, std::memory_order_acquire);
    }
  }
  void unlock() noexcept {
    serving_.fetch_add(1, std::memory_order_release);
    serving_.notify_all();
  }

 private:
  std::atomic<unsigned> next_{0};
  std::atomic<unsigned> serving_{0};
};

/// A place in the order of a stream's work, for which one may wait while others put in more.
class CudaEvent {
 public:
  /// @throws Error run_failed
  CudaEvent();
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent();

  [[nodiscard]] cudaEvent_t get() const noexcept { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// The one stream of a model: runs, copies within the cache and ONNX Runtime's own work happen in
/// the order in which they were put in. Whoever puts something in holds the lock meanwhile, because
/// a stream that is being captured takes everything into the capture. Whoever waits for its end
/// with an event need not: others may put in what comes after it.
class CudaStream {
 public:
  /// @throws Error run_failed
  CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream();

  [[nodiscard]] std::unique_lock<FairMutex> lock() {
    std::unique_lock lock(mutex_);
    if (first_) {
      first_();
    }
    return lock;
  }
  /// What is called whenever the lock has been taken: it puts in what waited for that, and must not
  /// throw. Null: nothing.
  void put_first(std::function<void()> work) {
    const std::scoped_lock lock(mutex_);
    first_ = std::move(work);
  }
  [[nodiscard]] cudaStream_t get() const noexcept { return stream_; }

  /// Waits for all that was put in; under the lock.
  /// @throws Error run_failed
  void wait() const;

  /// Marks what was put in until now; under the lock.
  /// @throws Error run_failed
  void mark(const CudaEvent& event) const;

  /// Waits for what was marked; without the lock.
  /// @throws Error run_failed
  static void wait(const CudaEvent& event);

 private:
  FairMutex mutex_;
  std::function<void()> first_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace kvcache::device
