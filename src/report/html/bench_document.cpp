#include "report/html/bench_document.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "report/statistics.hpp"

namespace kvcache::report::html {
namespace {

constexpr std::size_t kNewestFormat = 3;
constexpr double kMost = 1e300;

JsonValue checked_bench(const JsonValue& bench) {
  constexpr std::array<std::string_view, 1> kFormat{"kvcache-bench"};
  static_cast<void>(bench.field("format").text_of(kFormat));
  static_cast<void>(bench.field("format_version").size(1, kNewestFormat));
  static_cast<void>(bench.field("mode").text());
  return bench;
}

}  // namespace

JsonSource bench_source(std::string name) {
  return {.name = std::move(name),
          .code = ErrorCode::invalid_argument,
          .advice = "give a file that kvcache bench --json wrote"};
}

JsonSource peers_source(std::string name) {
  return {.name = std::move(name),
          .code = ErrorCode::invalid_argument,
          .advice = "give a file that bench/peers/cpu_peers.py --json wrote"};
}

std::vector<JsonValue> benches_of(const JsonValue& document) {
  if (!document.is_array()) {
    return {checked_bench(document)};
  }
  std::vector<JsonValue> benches;
  for (const JsonValue& bench : document.elements()) {
    benches.push_back(checked_bench(bench));
  }
  if (benches.empty()) {
    document.refuse("must hold at least one measurement");
  }
  return benches;
}

std::vector<double> samples_of(const JsonValue& object, std::string_view field) {
  const JsonValue values = object.field(field);
  std::vector<double> samples;
  for (const JsonValue& value : values.elements()) {
    samples.push_back(value.number(-kMost, kMost));
  }
  if (samples.empty()) {
    values.refuse("must hold at least one sample");
  }
  return samples;
}

Measured measured_times(const JsonValue& times) {
  const std::vector<double> samples = samples_of(times, "samples_ms");
  return {figure(times, "median_ms", Unit::milliseconds),
          {quantile(samples, 0.1), quantile(samples, 0.9)}};
}

Measured measured_rounds(const JsonValue& rounds, Unit unit) {
  return {figure(rounds, "median", unit),
          {figure(rounds, "min", unit).value, figure(rounds, "max", unit).value}};
}

Markup show(const Measured& measured) {
  const Unit unit = measured.median.unit;
  return show(measured.median) + text(" ") +
         element("small", written_spread(measured.spread.low, measured.spread.high, unit));
}

}  // namespace kvcache::report::html
