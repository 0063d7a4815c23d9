// The order of work on the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "base/spin_wait.hpp"
#include "plan/cuda/lanes.hpp"

namespace kvcache::device {

/// A mutex that threads get in the order in which they asked: those that decode side by side
/// advance side by side.
class FairMutex {
 public:
  void lock() noexcept {
    const unsigned ticket = next_.fetch_add(1, std::memory_order_relaxed);
    SpinWait spin;  // who is before usually takes as long as it takes to fall asleep and wake up
    while (serving_.load(std::memory_order_acquire) != ticket && spin.polls() < kPollsAwake) {
      spin.pause();
    }
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
  static constexpr int kPollsAwake = 1 << 11;  // some tens of microseconds

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

/// The streams of a model. In its own stream runs, copies within the cache and ONNX Runtime's work
/// happen in the order in which they were put in. Beside it there are lanes for runs that may be
/// computed side by side: each begins behind what the model's stream has got until then, and
/// nothing is put in that needs its results before whoever put it in has seen its end.
///
/// Whoever puts something in holds the lock meanwhile, because a stream that is being captured
/// takes everything into the capture. Whoever waits for its end with an event need not: others may
/// put in what comes after it.
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

  /// A run's time in one of the lanes beside the model's stream.
  class LaneLease {
   public:
    LaneLease(std::atomic<int>& runs, const plan::Lane& lane) : runs_(runs), lane_(lane) {
      runs_.fetch_add(1, std::memory_order_relaxed);
    }
    LaneLease(const LaneLease&) = delete;
    LaneLease& operator=(const LaneLease&) = delete;
    ~LaneLease() { runs_.fetch_sub(1, std::memory_order_relaxed); }

    [[nodiscard]] const plan::Lane& lane() const noexcept { return lane_; }

   private:
    std::atomic<int>& runs_;
    plan::Lane lane_;
  };

  /// The lane that has the fewest runs, behind all that the model's stream has got; under the lock.
  /// @throws Error run_failed
  void take_lane(std::optional<LaneLease>& lease);

  /// Waits for all that was put into the model's stream; under the lock.
  /// @throws Error run_failed
  void wait() const;

  /// Waits for the lanes too, whatever has failed before.
  void settle() const noexcept;

  /// Marks what was put in until now; under the lock.
  /// @throws Error run_failed
  void mark(const CudaEvent& event) const;

  /// Waits for what was marked; without the lock.
  /// @throws Error run_failed
  static void wait(const CudaEvent& event);

 private:
  struct OfLane {
    cudaStream_t stream = nullptr;
    std::atomic<int> runs{0};  // that nobody has seen the end of
  };

  FairMutex mutex_;
  std::function<void()> first_;
  cudaStream_t stream_ = nullptr;
  std::array<OfLane, plan::kLanes - 1> lanes_;  // all but the first, which is the model's stream
  CudaEvent behind_;                            // what lanes begin behind
};

}  // namespace kvcache::device
