// Whether what waits goes into one run or into two halves.
#pragma once

#include <array>
#include <cstddef>

#include "evaluator/task.hpp"

namespace kvcache::evaluator {

/// Of two halves, the host prepares one and its answers are used while the device computes the
/// other; but two runs read the weights twice. Which is faster depends on the model, the device and
/// what clients do between their requests. So both are tried in turn, and the one that answered
/// more rows a second is kept for a while. The scheduler's, under its lock.
class RunSplitting {
 public:
  /// `max_runs`: under way at a time; with 1 nothing is split.
  explicit RunSplitting(std::size_t max_runs) noexcept : max_runs_(max_runs) {}

  /// The most rows of a run that begins now, beside `running` ones that are under way.
  [[nodiscard]] std::size_t most_rows(std::size_t waiting, std::size_t running) const noexcept;

  /// A run of so many rows has ended.
  void count(std::size_t rows, Clock::time_point now) noexcept;

 private:
  [[nodiscard]] bool splits() const noexcept { return phase_ == 1 || (phase_ == 2 && halves_won_); }
  void next_phase() noexcept;

  static constexpr std::size_t kWorthTwoRuns = 32;  // rows; fewer are no work for a device
  static constexpr std::size_t kTrialRows = 4096;   // of each way
  static constexpr std::size_t kKeptRows = 32 * kTrialRows;

  std::size_t max_runs_;
  int phase_ = 0;  // 0: whole runs are tried, 1: halves, 2: the better is kept
  bool halves_won_ = false;
  std::array<double, 2> rows_per_second_{};  // of whole runs, of halves
  std::size_t rows_ = 0;                     // of this phase
  Clock::time_point began_{};                // at the end of its first run
};

}  // namespace kvcache::evaluator
