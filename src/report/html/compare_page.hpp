// The page of two runs beside each other.
#pragma once

#include <string>
#include <vector>

#include "base/checked_json.hpp"
#include "report/bench_comparison.hpp"
#include "report/html/figure.hpp"

namespace kvcache::report::html {

/// Two runs, under the names that tell them apart, such as their files'.
struct ComparedRuns {
  std::string first_name;
  std::string second_name;
  std::vector<JsonValue> first;
  std::vector<JsonValue> second;
};

/// How a figure of this kind is written.
Unit unit_of(FigureKind kind);

std::string compare_page(const ComparedRuns& runs, const BenchComparison& comparison);

}  // namespace kvcache::report::html
