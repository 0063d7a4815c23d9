#include "evaluator/recorder.hpp"

#include <algorithm>

namespace kvcache::evaluator {
namespace {

Histogram histogram(std::vector<double> bounds) {
  Histogram histogram;
  histogram.counts.resize(bounds.size() + 1);
  histogram.bounds = std::move(bounds);
  return histogram;
}

/// From 10 µs to 10 s.
Histogram histogram_of_seconds() {
  return histogram({1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2,
                    0.1, 0.25, 0.5, 1, 2.5, 5, 10});
}

Histogram histogram_of_counts(double most) {
  std::vector<double> bounds;
  for (double bound = 1; bound <= most; bound *= 2) {
    bounds.push_back(bound);
  }
  return histogram(std::move(bounds));
}

void add(Histogram& histogram, double value) noexcept {
  const auto bucket = std::ranges::lower_bound(histogram.bounds, value) - histogram.bounds.begin();
  ++histogram.counts[static_cast<std::size_t>(bucket)];
  histogram.sum += value;
  histogram.largest = std::max(histogram.largest, value);
}

double in_seconds(Clock::duration duration) noexcept {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Recorder::Recorder(Clock::time_point now) : began_(now) {
  metrics_.queue_seconds = histogram_of_seconds();
  metrics_.run_seconds = histogram_of_seconds();
  metrics_.rows_per_run = histogram_of_counts(1024);
  metrics_.tokens_per_run = histogram_of_counts(16384);
}

void Recorder::count_finished(const Task& task) noexcept {
  if (!task.outcome->failed()) {
    ++metrics_.answered;
    metrics_.joined += task.by == AnsweredBy::joined ? 1 : 0;
    if (task.by == AnsweredBy::run) {
      add(metrics_.queue_seconds, in_seconds(task.waited));
    }
  } else if (task.outcome->code == ErrorCode::cancelled) {
    ++metrics_.cancelled;
  } else if (task.outcome->code == ErrorCode::deadline_exceeded) {
    ++metrics_.expired;
  } else {
    ++metrics_.failed;
  }
}

std::int64_t Recorder::second_of(Clock::time_point now) const noexcept {
  return std::chrono::floor<std::chrono::seconds>(now - began_).count();
}

void Recorder::count_run(const RunRecord& run, Clock::time_point now) noexcept {
  if (run.failed) {
    ++metrics_.failed_runs;
    return;
  }
  ++metrics_.runs;
  add(metrics_.run_seconds, in_seconds(run.took));
  add(metrics_.rows_per_run, static_cast<double>(run.rows));
  add(metrics_.tokens_per_run, static_cast<double>(run.tokens));
  const std::int64_t number = second_of(now);
  Second& second = seconds_[static_cast<std::size_t>(number) % seconds_.size()];
  if (second.number != number) {
    second = {.number = number, .rows = 0};
  }
  second.rows += run.rows;
}

EvaluatorMetrics Recorder::metrics(Clock::time_point now) const {
  EvaluatorMetrics metrics = metrics_;
  // Of a short life all of it, else whole seconds and the one under way.
  const std::int64_t current = second_of(now);
  std::uint64_t rows = 0;
  for (const Second& second : seconds_) {
    if (second.number >= 0 && second.number >= current - static_cast<std::int64_t>(kSeconds)) {
      rows += second.rows;
    }
  }
  const double lived = in_seconds(now - began_);
  const double span = std::min(lived, lived - static_cast<double>(current) + kSeconds);
  metrics.evaluations_per_second = span > 0 ? static_cast<double>(rows) / span : 0;
  return metrics;
}

}  // namespace kvcache::evaluator
