#include "evaluator/run_splitting.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/rounding.hpp"

namespace kvcache::evaluator {

RunSplitting::RunSplitting(std::size_t max_runs) : rows_per_second_(max_runs) {}

bool RunSplitting::splits(std::size_t rows) const noexcept {
  return parts() > 1 && rows >= kWorthTwoRuns;
}

std::size_t RunSplitting::most_rows(std::size_t waiting, std::size_t running) const noexcept {
  const std::size_t rows = waiting + running;
  return splits(rows) ? divide_up(rows, parts()) : std::numeric_limits<std::size_t>::max();
}

bool RunSplitting::is_worth_a_run(std::size_t waiting, std::size_t running,
                                  std::size_t runs) const noexcept {
  // Half of its share, so that no run waits for the last of those who are about to come back.
  return splits(waiting + running) && runs < parts() && 2 * waiting >= most_rows(waiting, running);
}

void RunSplitting::count(std::size_t rows, Clock::time_point now) noexcept {
  if (max_runs() == 1 || rows < kWorthTwoRuns / 2 / max_runs()) {
    return;
  }
  if (began_ == Clock::time_point{}) {  // the first run began in the phase before
    began_ = now;
    return;
  }
  rows_ += rows;
  if (rows_ < (is_trial() ? kTrialRows : kept_rows_)) {
    return;
  }
  if (is_trial()) {
    const double seconds = std::chrono::duration<double>(now - began_).count();
    rows_per_second_[phase_] = static_cast<double>(rows_) / seconds;
  }
  next_phase();
}

void RunSplitting::next_phase() noexcept {
  phase_ = is_trial() ? phase_ + 1 : 0;
  if (!is_trial()) {
    const auto fastest = std::ranges::max_element(rows_per_second_);
    const std::size_t best = 1 + static_cast<std::size_t>(fastest - rows_per_second_.begin());
    kept_rows_ = best == best_ ? std::min(2 * kept_rows_, kMostKeptRows) : kKeptRows;
    best_ = best;
  }
  rows_ = 0;
  began_ = {};
}

}  // namespace kvcache::evaluator
