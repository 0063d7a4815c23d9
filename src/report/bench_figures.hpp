// The figures of a measurement that another one can be compared with.
#pragma once

#include <string>
#include <vector>

#include "base/checked_json.hpp"

namespace kvcache::report {

/// What a figure counts, and with it what it means that it is larger.
enum class FigureKind {
  milliseconds,  // slower
  microseconds,
  rate,   // a second: faster
  ratio,  // neither
  bytes,
};

struct BenchFigure {
  std::string name;  // with all that it depends on: "a token at depth 8"
  FigureKind kind = FigureKind::milliseconds;
  /// One of each round: the samples of a round share what the machine did meanwhile, so that they
  /// count as one. A single one where the mode has no rounds.
  std::vector<double> rounds = {};
};

/// Those of one measurement of `kvcache bench`, in the order of its tables.
/// @throws Error invalid_argument where a field is not what it must be
std::vector<BenchFigure> bench_figures(const JsonValue& bench);

}  // namespace kvcache::report
