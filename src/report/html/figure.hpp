// A figure of a report: how it is written for people, and where it comes from.
#pragma once

#include <string>
#include <string_view>

#include "base/checked_json.hpp"
#include "report/html/markup.hpp"

namespace kvcache::report::html {

/// What a figure counts, which decides how it is written.
enum class Unit {
  milliseconds,
  microseconds,
  bytes,
  bandwidth,  // bytes per second
  ratio,      // 3.10×
  share,      // of 1: 84 %
  per_second,
  count,
  number,  // a search's value or prior
};

/// A value, and the place in the JSON that it is: `decode[0].median_ms`; or, in words, what it was
/// computed of there.
struct Figure {
  double value = 0;
  Unit unit = Unit::number;
  std::string json;     // the place, or empty
  std::string derived;  // then: how it is computed
};

/// A field of an object.
/// @throws Error as JsonValue::number()
Figure figure(const JsonValue& object, std::string_view field, Unit unit);

Figure derived_figure(double value, Unit unit, std::string how);

/// "21.3 ms", "75.50 MB", "84 %": about three digits.
std::string written(double value, Unit unit);
/// "16.7 … 52.0 ms"
std::string written_spread(double low, double high, Unit unit);
/// Without the unit, as a chart's axis writes it: "20".
std::string written_on_axis(double value, Unit unit);
/// "ms"; empty where the figure carries it itself.
std::string_view unit_name(Unit unit);

/// Every digit, so that it reads back as the same number.
std::string exact(double value);

/// `<data>` with the exact value and its source, around the written one.
Markup show(const Figure& figure);

}  // namespace kvcache::report::html
