#include "scenarios.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "report/scenario_comparison.hpp"

namespace kvcache::prototype {
namespace {

constexpr double kRecomputationBudgetMs = 30'000;  // beyond it, scenario B is sampled

/// One step without the cache: what it took, and what came out.
struct RecomputedStep {
  double latency;
  Logits logits;
};

/// Recomputes the first `length` tokens of scenario A's sequence.
///
/// As long as both scenarios agree on every token, that is also scenario B's own sequence; after a
/// tie by rounding, B goes on with A's choice.
RecomputedStep recompute(const KVCacheInferencer& inferencer, const CachedGeneration& cached,
                         std::size_t length) {
  std::optional<Logits> logits;
  const double latency = time_of([&] {
    logits = inferencer.forward_without_cache(std::span(cached.sequence).first(length));
    static_cast<void>(logits->argmax());  // belongs to the work of a step
  });
  return {latency, std::move(*logits)};
}

/// Compares the token that scenario A chose after `length` tokens and, where kept, its logits.
void compare(const CachedGeneration& cached, std::size_t length, const Logits& recomputed,
             report::Agreement& agreement) {
  agreement.compare_token(cached.sequence[length], recomputed.last());
  const auto kept = cached.logits.find(length);
  if (kept != cached.logits.end()) {
    agreement.compare_logits(kept->second, recomputed.last());
  }
}

/// About what all lengths together take, by Simpson's rule over the first, middle and last one.
double projected_ms(const KVCacheInferencer& inferencer, const CachedGeneration& cached) {
  const std::size_t tokens = cached.latencies.size();
  const auto warm = [&](std::size_t length) {
    recompute(inferencer, cached, length);  // the first run of a length also takes its memory
    return recompute(inferencer, cached, length).latency;
  };
  return static_cast<double>(tokens) / 6 * (warm(tokens) + 4 * warm((tokens + 1) / 2) + warm(1));
}

/// Every length, or so many evenly spaced ones that measuring each twice stays in the budget.
std::set<std::size_t> lengths_to_measure(std::size_t tokens, double projected) {
  std::size_t step = 1;
  if (projected > kRecomputationBudgetMs) {
    step = static_cast<std::size_t>(2 * projected / kRecomputationBudgetMs) + 1;
  }
  const std::vector<std::size_t> points = report::curve_points(tokens);
  std::set<std::size_t> lengths(points.begin(), points.end());
  for (std::size_t length = 1; length <= tokens; length += step) {
    lengths.insert(length);
  }
  return lengths;
}

/// Latencies of all lengths 1 … tokens from those measured, straight lines in between.
Milliseconds interpolated(const std::map<std::size_t, double>& measured, std::size_t tokens) {
  Milliseconds latencies;
  for (std::size_t length = 1; length <= tokens; ++length) {
    const auto above = measured.lower_bound(length);
    if (above->first == length) {
      latencies.push_back(above->second);
      continue;
    }
    const auto below = std::prev(above);
    const double share = static_cast<double>(length - below->first) /
                         static_cast<double>(above->first - below->first);
    latencies.push_back(below->second + share * (above->second - below->second));
  }
  return latencies;
}

}  // namespace

TokenId begin_of_text(const KVCacheInferencer& inferencer) {
  return static_cast<TokenId>(inferencer.model().info().vocab_size) - 1;
}

CachedGeneration generate_with_cache(KVCacheInferencer& inferencer, std::size_t tokens) {
  const std::vector<std::size_t> compared = report::curve_points(tokens);
  CachedGeneration result;
  result.sequence.push_back(begin_of_text(inferencer));
  inferencer.reset();
  for (std::size_t step = 1; step <= tokens; ++step) {
    if (step == 2) {
      inferencer.reset_metrics();
    }
    std::optional<Logits> logits;
    TokenId next = 0;
    result.latencies.push_back(time_of([&] {
      logits = inferencer.forward({&result.sequence.back(), 1});
      next = logits->argmax();
    }));
    result.sequence.push_back(next);
    if (std::ranges::binary_search(compared, step)) {
      const std::span<const float> row = logits->last();
      result.logits[step].assign(row.begin(), row.end());
    }
  }
  result.after_first = inferencer.metrics();
  return result;
}

Recomputation generate_without_cache(const KVCacheInferencer& inferencer,
                                     const CachedGeneration& cached) {
  const std::size_t tokens = cached.latencies.size();
  const std::set<std::size_t> lengths =
      lengths_to_measure(tokens, projected_ms(inferencer, cached));
  const bool sampled = lengths.size() < tokens;

  report::Agreement agreement{.tolerance = report::logit_tolerance(inferencer.model().info())};
  std::map<std::size_t, double> measured;
  for (const std::size_t length : lengths) {
    const RecomputedStep step = recompute(inferencer, cached, length);
    compare(cached, length, step.logits, agreement);
    measured[length] = step.latency;
    if (sampled) {  // a jump in length costs memory that a growing sequence has already
      const double again = recompute(inferencer, cached, length).latency;
      measured[length] = std::min(step.latency, again);
    }
  }
  return {interpolated(measured, tokens), lengths.size(), agreement};
}

}  // namespace kvcache::prototype
