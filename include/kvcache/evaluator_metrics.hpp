// What an Evaluator counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvcache/export.hpp"

namespace kvcache {

/// How often a value was at most bounds[i] and above the one before: counts[i]. The last count, one
/// more than there are bounds, is of all above.
struct Histogram {
  std::vector<double> bounds;
  std::vector<std::uint64_t> counts;
  double sum = 0;
  double largest = 0;

  [[nodiscard]] std::uint64_t count() const noexcept {
    std::uint64_t all = 0;
    for (const std::uint64_t of_bucket : counts) {
      all += of_bucket;
    }
    return all;
  }
};

struct ResultCacheStats {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t skipped = 0;  // requests with a key and skip_cache
  std::uint64_t evictions = 0;
  std::size_t entries = 0;
  std::size_t bytes = 0;
  std::size_t max_bytes = 0;
};

/// Since the evaluator began. A request is counted once among answered, failed, cancelled and
/// expired when it ends.
struct EvaluatorMetrics {
  std::uint64_t submitted = 0;
  std::uint64_t answered = 0;
  std::uint64_t failed = 0;  // with another error than the next two
  std::uint64_t cancelled = 0;
  std::uint64_t expired = 0;  // deadline_exceeded
  std::uint64_t joined = 0;   // answered by another request's computation
  std::size_t waiting = 0;    // now
  std::size_t running = 0;    // now, in a run
  std::size_t clients = 0;    // registered now
  std::uint64_t version = 0;  // of the newest model
  std::uint64_t runs = 0;
  std::uint64_t failed_runs = 0;       // their rows were run again in two halves
  std::uint64_t put_off = 0;           // rows that found no cache block and waited for the next run
  std::uint64_t callbacks_failed = 0;  // callbacks that an exception left
  double evaluations_per_second = 0;   // rows of runs in the last ten seconds
  Histogram queue_seconds;             // from submit() until the run begins
  Histogram run_seconds;
  Histogram rows_per_run;
  Histogram tokens_per_run;
  ResultCacheStats result_cache;
};

/// The metrics in the text format of Prometheus (version 0.0.4), names beginning with
/// kvcache_evaluator_, each with these labels.
/// @throws Error invalid_argument when a label's name is none of Prometheus's
KVCACHE_EXPORT std::string prometheus_text(
    const EvaluatorMetrics& metrics,
    std::span<const std::pair<std::string, std::string>> labels = {});

}  // namespace kvcache
