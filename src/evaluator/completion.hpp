// That something is done, told to any number of threads.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace kvcache::evaluator {

class Completion {
 public:
  /// What happened before comes before what follows in whoever sees that it is done. The caller
  /// keeps this object meanwhile, whatever those who wait do.
  void publish() noexcept {
    {
      const std::scoped_lock lock(mutex_);
      done_.store(true, std::memory_order_release);
    }
    changed_.notify_all();
  }

  [[nodiscard]] bool done() const noexcept { return done_.load(std::memory_order_acquire); }

  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done(); });
  }

  /// Whether it is done by then.
  bool wait_until(std::chrono::steady_clock::time_point end) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, end, [this] { return done(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> done_{false};
};

}  // namespace kvcache::evaluator
