// Counts what happens to requests and runs.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "evaluator/task.hpp"
#include "kvcache/evaluator_metrics.hpp"

namespace kvcache::evaluator {

/// One run that ended, well or not.
struct RunRecord {
  std::size_t rows = 0;
  std::size_t tokens = 0;
  Clock::duration took{};
  bool failed = false;
};

class Recorder {
 public:
  explicit Recorder(Clock::time_point now);

  void count_submitted() noexcept { ++metrics_.submitted; }
  void count_put_off() noexcept { ++metrics_.put_off; }
  void count_callback_failed() noexcept { ++metrics_.callbacks_failed; }

  /// A task that is done.
  void count_finished(const Task& task) noexcept;

  void count_run(const RunRecord& run, Clock::time_point now) noexcept;

  /// All that is counted here.
  [[nodiscard]] EvaluatorMetrics metrics(Clock::time_point now) const;

 private:
  struct Second {
    std::int64_t number = -1;  // since the recorder began
    std::uint64_t rows = 0;
  };
  static constexpr std::size_t kSeconds = 10;

  [[nodiscard]] std::int64_t second_of(Clock::time_point now) const noexcept;

  Clock::time_point began_;
  EvaluatorMetrics metrics_;
  std::array<Second, kSeconds + 1> seconds_{};  // the one under way, and those before it
};

}  // namespace kvcache::evaluator
