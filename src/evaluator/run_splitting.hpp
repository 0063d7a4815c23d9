// Into how many runs beside each other what waits is shared out.
#pragma once

#include <cstddef>
#include <vector>

#include "evaluator/task.hpp"

namespace kvcache::evaluator {

/// Of several runs, the host prepares one and its answers are used while the device computes
/// others; but each reads the weights. Which number is best depends on the model, the device and
/// what clients do between their requests. So all are tried in turn, and the one with which most
/// rows a second were answered is kept for a while, and longer each time that it is the best again.
/// The scheduler's, under its lock.
class RunSplitting {
 public:
  /// `max_runs`: under way at a time, at least 1; with 1 nothing is split.
  explicit RunSplitting(std::size_t max_runs);

  /// The most rows of a run that begins now, beside `running` ones that are under way.
  [[nodiscard]] std::size_t most_rows(std::size_t waiting, std::size_t running) const noexcept;

  /// Whether what waits is worth a run of its own beside `runs` that are under way, though there
  /// may be more to come.
  [[nodiscard]] bool is_worth_a_run(std::size_t waiting, std::size_t running,
                                    std::size_t runs) const noexcept;

  /// A run of so many rows has ended.
  void count(std::size_t rows, Clock::time_point now) noexcept;

 private:
  [[nodiscard]] bool is_trial() const noexcept { return phase_ < rows_per_second_.size(); }
  [[nodiscard]] std::size_t parts() const noexcept { return is_trial() ? phase_ + 1 : best_; }
  [[nodiscard]] std::size_t max_runs() const noexcept { return rows_per_second_.size(); }
  [[nodiscard]] bool splits(std::size_t rows) const noexcept;
  void next_phase() noexcept;

  static constexpr std::size_t kWorthTwoRuns = 32;  // rows; fewer are no work for a device
  static constexpr std::size_t kTrialRows = 4096;   // of each number
  static constexpr std::size_t kKeptRows = 64 * kTrialRows;
  static constexpr std::size_t kMostKeptRows = 8 * kKeptRows;

  std::size_t phase_ = 0;  // the number of runs that is tried, less one; then the best is kept
  std::size_t best_ = 0;   // 0: none was found yet
  std::size_t kept_rows_ = kKeptRows;
  std::vector<double> rows_per_second_;  // with each number
  std::size_t rows_ = 0;                 // of this phase
  Clock::time_point began_{};            // at the end of its first run
};

}  // namespace kvcache::evaluator
