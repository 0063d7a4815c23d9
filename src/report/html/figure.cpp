#include "report/html/figure.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "report/format.hpp"

namespace kvcache::report::html {
namespace {

constexpr double kLargest = 1e300;  // beyond it, spreads and axes would not be numbers any more

std::string about_three_digits(double value) {
  const double size = std::abs(value);
  return size >= 99.95   ? fmt::format("{:.0f}", value)
         : size >= 9.995 ? fmt::format("{:.1f}", value)
         : size >= 1     ? fmt::format("{:.2f}", value)
         : size == 0     ? "0"
                         : fmt::format("{:#.3g}", value);
}

/// 1234567 as 1,234,567.
std::string grouped(double value) {
  const std::string digits = fmt::format("{:.0f}", std::abs(value));
  std::string text(value < 0 ? "-" : "");
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) {
      text += ',';
    }
    text += digits[i];
  }
  return text;
}

std::string scaled_bytes(double value, std::string_view after) {
  const bool fits = value >= 0 && value < 1e18;
  return (fits ? format_bytes(static_cast<std::size_t>(value))
               : fmt::format("{:.3g} bytes", value)) +
         std::string(after);
}

/// 2.5e8 as 250 MB: what is round already.
std::string round_bytes(double value) {
  constexpr std::array kUnits{"", " kB", " MB", " GB", " TB"};
  std::size_t unit = 0;
  for (; value >= 1000 && unit + 1 < kUnits.size(); ++unit) {
    value /= 1000;
  }
  return fmt::format("{:g}{}", value, kUnits.at(unit));
}

}  // namespace

Figure figure(const JsonValue& object, std::string_view field, Unit unit) {
  const JsonValue value = object.field(field);
  return {value.number(-kLargest, kLargest), unit, value.place(), {}};
}

Figure derived_figure(double value, Unit unit, std::string how) {
  return {value, unit, {}, std::move(how)};
}

std::string_view unit_name(Unit unit) {
  switch (unit) {
    case Unit::milliseconds:
      return "ms";
    case Unit::microseconds:
      return "µs";
    case Unit::bytes:
    case Unit::bandwidth:
    case Unit::ratio:
    case Unit::share:
    case Unit::per_second:
    case Unit::count:
    case Unit::number:
      break;
  }
  return {};
}

std::string written(double value, Unit unit) {
  switch (unit) {
    case Unit::milliseconds:
    case Unit::microseconds:
      return fmt::format("{} {}", about_three_digits(value), unit_name(unit));
    case Unit::bytes:
      return scaled_bytes(value, "");
    case Unit::bandwidth:
      return scaled_bytes(value, "/s");
    case Unit::ratio:
      return about_three_digits(value) + "×";
    case Unit::share:
      return fmt::format("{:.0f} %", value * 100);
    case Unit::per_second:
      return std::abs(value) >= 1000 ? grouped(value) + " /s" : about_three_digits(value) + " /s";
    case Unit::count:
      return grouped(value);
    case Unit::number:
      break;
  }
  return fmt::format("{:.3f}", value);
}

std::string written_spread(double low, double high, Unit unit) {
  const std::string last = written(high, unit);
  std::string first = written(low, unit);
  const std::size_t space = last.find(' ');  // before a unit, which is said once
  if (space != std::string::npos && first.ends_with(last.substr(space))) {
    first.resize(first.size() - (last.size() - space));
  }
  return fmt::format("{} … {}", first, last);
}

std::string written_on_axis(double value, Unit unit) {
  switch (unit) {
    case Unit::share:
      return fmt::format("{:.0f} %", value * 100);
    case Unit::ratio:
      return fmt::format("{:g}×", value);
    case Unit::bytes:
      return round_bytes(value);
    case Unit::bandwidth:
      return round_bytes(value) + "/s";
    case Unit::milliseconds:
    case Unit::microseconds:
    case Unit::per_second:
    case Unit::count:
    case Unit::number:
      break;
  }
  return std::abs(value) >= 1000 ? grouped(value) : fmt::format("{:g}", value);
}

std::string exact(double value) { return fmt::format("{}", value); }

Markup show(const Figure& figure) {
  Attributes attributes{{"value", exact(figure.value)}};
  if (!figure.json.empty()) {
    attributes.push_back({"data-json", figure.json});
  } else if (!figure.derived.empty()) {
    attributes.push_back({"data-derived", figure.derived});
  }
  return element("data", attributes, text(written(figure.value, figure.unit)));
}

}  // namespace kvcache::report::html
