// The files that `kvcache bench --json` writes, read again: one measurement, or an array of them.
#pragma once

#include <string>
#include <vector>

#include "base/checked_json.hpp"
#include "report/html/figure.hpp"
#include "report/html/line_chart.hpp"

namespace kvcache::report::html {

/// Whose mistakes are reported how.
JsonSource bench_source(std::string name);
JsonSource peers_source(std::string name);

/// The measurements of a document, each an object with format "kvcache-bench".
/// @throws Error invalid_argument for anything else
std::vector<JsonValue> benches_of(const JsonValue& document);

/// Samples of a field, in their order.
std::vector<double> samples_of(const JsonValue& object, std::string_view field);

/// A group of samples as a report shows it: the median as it stands in the JSON, and the spread.
struct Measured {
  Figure median;
  Spread spread;
};

/// Of times (`median_ms`, `samples_ms`): the 10th to the 90th percentile.
Measured measured_times(const JsonValue& times);
/// Of what has a sample a round (`median`, `min`, `max`): the least to the most.
Measured measured_rounds(const JsonValue& rounds, Unit unit);

constexpr const char* kSpreadOfTimes = "10th to 90th percentile of the samples";
constexpr const char* kSpreadOfRounds = "least to most of the rounds";

/// "21.3 ms (20.9 … 22.1)"
Markup show(const Measured& measured);

}  // namespace kvcache::report::html
