#include "report/scenario_comparison.hpp"

#include <fmt/format.h>

#include <numeric>

#include "report/table.hpp"

namespace kvcache::report {
namespace {

constexpr std::size_t kFirstCurvePoint = 16;
constexpr double kTargetSpeedup = 10;

double sum_of_first(std::size_t n, const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n), 0.0);
}

double sum(const std::vector<double>& values) { return sum_of_first(values.size(), values); }

double mean(const std::vector<double>& values) {
  return sum(values) / static_cast<double>(values.size());
}

}  // namespace

std::vector<std::size_t> curve_points(std::size_t tokens) {
  std::vector<std::size_t> points;
  for (std::size_t n = kFirstCurvePoint; n < tokens; n *= 2) {
    points.push_back(n);
  }
  points.push_back(tokens);
  return points;
}

double ScenarioComparison::speedup_at(std::size_t n) const {
  return sum_of_first(n, without_cache) / sum_of_first(n, with_cache);
}

std::string ScenarioComparison::describe_scenario_a() const {
  const double first = with_cache.front();
  const double subsequent = (sum(with_cache) - first) / static_cast<double>(tokens() - 1);
  return fmt::format(
      "[Scenario A] Sequential generation WITH KV cache\n"
      "  Total time: {:.2f} ms\n"
      "  Avg per token: {:.2f} ms\n"
      "  First token: {:.2f} ms\n"
      "  Subsequent avg: {:.2f} ms\n"
      "  Speedup: {:.2f}×\n"
      "  (This speedup is the first token's time over the subsequent average.)\n",
      sum(with_cache), mean(with_cache), first, subsequent, first / subsequent);
}

std::string ScenarioComparison::describe_scenario_b() const {
  const std::string lengths =
      measured == tokens()
          ? fmt::format("all {} lengths", tokens())
          : fmt::format("{} of {} lengths, those between interpolated", measured, tokens());
  return fmt::format(
      "[Scenario B] Recomputing full sequence WITHOUT KV cache\n"
      "  Total time: {:.2f} ms\n"
      "  Avg per token: {:.2f} ms\n"
      "  Measured: {}\n",
      sum(without_cache), mean(without_cache), lengths);
}

std::string ScenarioComparison::describe_summary() const {
  const double a = sum(with_cache);
  const double b = sum(without_cache);
  const std::size_t recomputed = tokens() * (tokens() + 1) / 2;
  return fmt::format(
      "[Performance Summary]\n"
      "  Overall speedup: {0:.2f}×\n"
      "  Time saved: {1:.2f} ms\n"
      "  Efficiency: {2:.1f}% of no-cache time\n"
      "  Tokens evaluated: {3} instead of {4}\n"
      "\n"
      "{5} ({0:.2f}×)\n",
      b / a, b - a, 100 * a / b, tokens(), recomputed,
      cache_is_faster() ? "✓ Test passed: Significant speedup achieved"
                        : "✗ Test failed: No speedup achieved");
}

std::string ScenarioComparison::describe_curve() const {
  Table table({"New tokens", "With cache (ms)", "Without (ms)", "Speedup"});
  for (const std::size_t n : curve_points(tokens())) {
    table.add_row({fmt::format("{}", n), fmt::format("{:.1f}", sum_of_first(n, with_cache)),
                   fmt::format("{:.1f}", sum_of_first(n, without_cache)),
                   fmt::format("{:.2f}x", speedup_at(n))});
  }
  std::string text = table.to_string();
  for (std::size_t n = 1; n <= tokens(); ++n) {
    if (speedup_at(n) >= kTargetSpeedup) {
      return text +
             fmt::format("\nTarget of {:.0f}x: reached at {} new tokens\n", kTargetSpeedup, n);
    }
  }
  return text + fmt::format(
                    "\nTarget of {:.0f}x: not reached within {} new tokens; the speedup grows with "
                    "their number (--tokens)\n",
                    kTargetSpeedup, tokens());
}

}  // namespace kvcache::report
