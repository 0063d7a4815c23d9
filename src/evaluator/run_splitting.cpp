#include "evaluator/run_splitting.hpp"

#include <chrono>
#include <limits>

#include "base/rounding.hpp"

namespace kvcache::evaluator {

std::size_t RunSplitting::most_rows(std::size_t waiting, std::size_t running) const noexcept {
  const std::size_t rows = waiting + running;
  return max_runs_ > 1 && rows >= kWorthTwoRuns && splits()
             ? divide_up(rows, max_runs_)
             : std::numeric_limits<std::size_t>::max();
}

void RunSplitting::count(std::size_t rows, Clock::time_point now) noexcept {
  if (max_runs_ == 1 || rows < kWorthTwoRuns / max_runs_) {
    return;
  }
  if (began_ == Clock::time_point{}) {  // the first run began in the phase before
    began_ = now;
    return;
  }
  rows_ += rows;
  if (rows_ < (phase_ == 2 ? kKeptRows : kTrialRows)) {
    return;
  }
  if (phase_ < 2) {
    const double seconds = std::chrono::duration<double>(now - began_).count();
    rows_per_second_[static_cast<std::size_t>(phase_)] = static_cast<double>(rows_) / seconds;
  }
  next_phase();
}

void RunSplitting::next_phase() noexcept {
  phase_ = (phase_ + 1) % 3;
  halves_won_ = rows_per_second_[1] > rows_per_second_[0];
  rows_ = 0;
  began_ = {};
}

}  // namespace kvcache::evaluator
