// Two runs of `kvcache bench`: which figures differ by more than their spread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/checked_json.hpp"
#include "report/bench_figures.hpp"
#include "report/rank_test.hpp"

namespace kvcache::report {

constexpr double kSignificance = 0.05;  // share of the differences found that may be false

enum class Verdict {
  no_difference,  // beyond the spread
  smaller,        // the second run's: faster, of times
  larger,
  too_few_rounds,  // all rounds of one are beyond the other's, and that may still be chance
  one_value,       // has no spread to be judged by
};

struct FigureComparison {
  std::string name;
  FigureKind kind = FigureKind::milliseconds;
  std::vector<double> first;  // of each round
  std::vector<double> second;
  RatioInterval ratio;  // second ÷ first
  double p = 1;         // adjusted by the number of figures, of those that have rounds
  Verdict verdict = Verdict::one_value;
};

struct BenchComparison {
  std::vector<std::string> modes;               // that both measured
  std::vector<FigureComparison> figures;        // that both have
  std::vector<std::string> only_one;            // has: "a token at depth 8 (first)"
  std::vector<std::string> different_settings;  // "threads: 2, 1"
  std::vector<std::string> not_holding;         // why no speed of a run counts
};

/// Of the measurements in two files; mode by mode.
/// @throws Error invalid_argument where no mode is in both, or a field is not what it must be
BenchComparison compare_benches(const std::vector<JsonValue>& first,
                                const std::vector<JsonValue>& second);

/// "no difference beyond the spread", "faster", …: of the second run.
std::string verdict_text(const FigureComparison& figure);

/// What the verdicts rest on, in two sentences.
std::string comparison_rule();

}  // namespace kvcache::report
