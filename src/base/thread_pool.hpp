// The threads of a model's runs on the CPU.
//
// ONNX Runtime's own pool can only be used from within its runs, and its threads spin for more than
// 20 ms after each. This one serves captured steps too, which need no run.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/parallel_for.hpp"

namespace kvcache {

/// Threads that help whoever calls; they wait awake for a millisecond, then sleep. Thread-safe:
/// callers share them, and whoever finds none free does its work alone.
class ThreadPool final : public ParallelFor {
 public:
  /// `size` counts the thread that calls; at least 1.
  /// @throws std::system_error when the system has no more threads
  explicit ThreadPool(int size);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() override;

  [[nodiscard]] int size() const noexcept { return static_cast<int>(threads_.size()) + 1; }

  /// Calls work(0) here and, while that lasts, work(member) in those threads that are free, each
  /// once, member in [1, size()). Returns when all have returned; `work` must do everything
  /// whoever comes or does not.
  /// @throws what the first member that threw did
  template <typename Work>
  void together(const Work& work) const {
    together(&work,
             [](const void* erased, int member) { (*static_cast<const Work*>(erased))(member); });
  }

 private:
  using Call = void (*)(const void* work, int member);

  /// What one caller wants done.
  struct alignas(64) Job {
    /// Changes with each use; whether anyone may enter; whether it is in use; how many are inside.
    std::atomic<std::uint64_t> state{0};
    const void* work = nullptr;
    Call call = nullptr;
    std::mutex mutex;
    std::exception_ptr failure;
  };
  static constexpr std::size_t kJobs = 8;  // callers at the same time that are helped
  using Uses = std::array<std::uint64_t, kJobs>;

  void together(const void* work, Call call) const;
  void run(std::int64_t count, const void* task,
           void (*call)(const void* task, std::int64_t i)) const override;

  Job* take_job() const noexcept;
  void wake() const noexcept;
  static void finish(Job& job);

  void serve(int member);
  /// Helps with a job that is open and was not helped before; whether there was one.
  bool help(int member, Uses& helped);
  [[nodiscard]] bool is_needed(const Uses& helped) const noexcept;

  mutable std::array<Job, kJobs> jobs_;
  mutable std::atomic<std::uint32_t> calls_{0};  // for those who sleep
  mutable std::atomic<int> sleeping_{0};
  std::atomic<bool> ends_{false};
  std::vector<std::jthread> threads_;  // last: they use what is above
};

}  // namespace kvcache
