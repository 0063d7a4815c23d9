#include "report/html/line_chart.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace kvcache::report::html {
namespace {

// Lengths are percentages of the drawing, which is as wide as the page lets it be; letters and
// marks keep their size. Lines know no percentages: they lie in a drawing of their own that is
// stretched.
constexpr double kStretched = 1000;
constexpr std::size_t kMostMarks = 24;  // of a series; what has more is a line with dots
constexpr std::array<const char*, 4> kMarks{"M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
                                            "M-3.6-3.6h7.2v7.2h-7.2z", "M0-4.6 4.6 4.6h-9.2z",
                                            "M0-5.2 5.2 0 0 5.2-5.2 0z"};
constexpr const char* kDot = "M-1.3 0a1.3 1.3 0 1 0 2.6 0a1.3 1.3 0 1 0-2.6 0z";

std::string series_class(std::size_t number) {
  return fmt::format("s{}", number % kMarks.size() + 1);
}

struct Frame {
  Axis x;
  Axis y;

  [[nodiscard]] double down(double value) const { return 1 - y.position(value); }
};

Frame frame_of(const LineChart& chart) {
  double least_x = std::numeric_limits<double>::infinity();
  double most_x = -least_x;
  double least_y = least_x;
  double most_y = -least_x;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      least_x = std::min(least_x, point.x);
      most_x = std::max(most_x, point.x);
      least_y = std::min(least_y, point.spread ? point.spread->low : point.y.value);
      most_y = std::max(most_y, point.spread ? point.spread->high : point.y.value);
    }
  }
  for (const Reference& reference : chart.references) {
    most_y = std::max(most_y, reference.y);
  }
  return {chart.x_scale == Scale::log ? Axis::powers_of_two(least_x, most_x, Unit::count)
                                      : Axis::between(least_x, most_x, Unit::count),
          Axis::linear(least_y, most_y, chart.y_unit)};
}

Markup grid(const Frame& frame) {
  Markup lines;
  for (const double tick : frame.y.ticks()) {
    const std::string y = percent(frame.down(tick));
    lines += element("line", {{"class", tick == 0 ? "grid base" : "grid"},
                              {"data-axis", "y"},
                              {"data-value", exact(tick)},
                              {"x1", "0"},
                              {"x2", "100%"},
                              {"y1", y},
                              {"y2", y}});
  }
  for (const double tick : frame.x.ticks()) {
    const std::string x = percent(frame.x.position(tick));
    lines += element("line", {{"class", "grid"},
                              {"data-axis", "x"},
                              {"data-value", exact(tick)},
                              {"x1", x},
                              {"x2", x},
                              {"y1", "0"},
                              {"y2", "100%"}});
  }
  return lines;
}

/// "12.5 30": a value's place in the stretched drawing.
std::string at(const Frame& frame, double x, double y) {
  return fmt::format("{:.3f} {:.3f}", frame.x.position(x) * kStretched, frame.down(y) * kStretched);
}

/// "M0 1L2 3L4 5"
std::string path_through(const std::vector<std::string>& places) {
  return fmt::format("M{}", fmt::join(places, "L"));
}

Markup lines_of(const Frame& frame, const Series& series, const std::string& colour) {
  std::vector<std::string> line;
  std::vector<std::string> band;   // along the upper ends of the spreads,
  std::vector<std::string> lower;  // and back along the lower ones
  for (const Point& point : series.points) {
    line.push_back(at(frame, point.x, point.y.value));
    if (point.spread) {
      band.push_back(at(frame, point.x, point.spread->high));
      lower.push_back(at(frame, point.x, point.spread->low));
    }
  }
  band.insert(band.end(), lower.rbegin(), lower.rend());
  Markup lines;
  if (!band.empty() && series.points.size() > kMostMarks) {
    lines += element("path", {{"class", "band " + colour}, {"d", path_through(band) + "z"}});
  }
  return lines + element("path", {{"class", "line " + colour}, {"d", path_through(line)}});
}

std::string described(const LineChart& chart, const Series& series, const Point& point) {
  std::string text =
      fmt::format("{}, {} {}: {}", series.name, written_on_axis(point.x, Unit::count),
                  chart.x_label, written(point.y.value, point.y.unit));
  if (point.spread) {
    text +=
        fmt::format(" ({})", written_spread(point.spread->low, point.spread->high, point.y.unit));
  }
  return text;
}

Markup whisker(const Frame& frame, const Point& point, const std::string& colour) {
  const std::string x = percent(frame.x.position(point.x));
  return element("line", {{"class", "whisker " + colour},
                          {"data-low", exact(point.spread->low)},
                          {"data-high", exact(point.spread->high)},
                          {"x1", x},
                          {"x2", x},
                          {"y1", percent(frame.down(point.spread->high))},
                          {"y2", percent(frame.down(point.spread->low))}});
}

/// Its value beside it while it has the focus or the pointer, inside of the drawing.
Markup tip(const Frame& frame, const Point& point) {
  const double x = frame.x.position(point.x);
  const bool near_top = frame.down(point.y.value) < 0.15;
  return element("text",
                 {{"class", "tip"},
                  {"y", near_top ? "20" : "-10"},
                  {"text-anchor", x < 0.2   ? "start"
                                  : x > 0.8 ? "end"
                                            : "middle"}},
                 text(written(point.y.value, point.y.unit)));
}

Markup marks_of(const LineChart& chart, const Frame& frame, std::size_t number) {
  const Series& series = chart.series[number];
  const bool dense = series.points.size() > kMostMarks;
  const std::string colour = series_class(number);
  Markup marks;
  for (const Point& point : series.points) {
    if (point.spread && !dense) {
      marks += whisker(frame, point, colour);
    }
    const std::string words = described(chart, series, point);
    Attributes attributes{{"class", "point " + colour},
                          {"x", percent(frame.x.position(point.x))},
                          {"y", percent(frame.down(point.y.value))},
                          {"overflow", "visible"},
                          {"data-series", series.name},
                          {"data-x", exact(point.x)},
                          {"data-y", exact(point.y.value)}};
    if (!point.y.json.empty()) {
      attributes.push_back({"data-json", point.y.json});
    }
    if (!dense) {  // hundreds of stops would keep the keyboard from the rest of the page
      attributes.insert(attributes.end(),
                        {{"tabindex", "0"}, {"role", "img"}, {"aria-label", words}});
    }
    marks += element(
        "svg", attributes,
        element("title", words) +
            element("path",
                    {{"class", "mark"}, {"d", dense ? kDot : kMarks.at(number % kMarks.size())}}) +
            (dense ? Markup() : tip(frame, point)));
  }
  return marks;
}

Markup references_of(const LineChart& chart, const Frame& frame) {
  Markup lines;
  for (const Reference& reference : chart.references) {
    const std::string y = percent(frame.down(reference.y));
    lines += element("line", {{"class", "reference"},
                              {"data-reference", exact(reference.y)},
                              {"x1", "0"},
                              {"x2", "100%"},
                              {"y1", y},
                              {"y2", y}});
  }
  return lines;
}

Markup legend(const LineChart& chart) {
  Markup entries;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Markup mark = element("path", {{"class", "mark"}, {"d", kMarks.at(i % kMarks.size())}});
    const Markup line = element("line", {{"class", "line " + series_class(i)},
                                         {"x1", "-10"},
                                         {"x2", "10"},
                                         {"y1", "0"},
                                         {"y2", "0"}});
    entries += element("li", element("svg",
                                     {{"class", "point " + series_class(i)},
                                      {"viewBox", "-11 -6 22 12"},
                                      {"width", "22"},
                                      {"height", "12"},
                                      {"aria-hidden", "true"}},
                                     line + mark) +
                                 text(chart.series[i].name));
  }
  for (const Reference& reference : chart.references) {
    const Markup line = element(
        "line", {{"class", "reference"}, {"x1", "-10"}, {"x2", "10"}, {"y1", "0"}, {"y2", "0"}});
    entries += element("li", element("svg",
                                     {{"viewBox", "-11 -6 22 12"},
                                      {"width", "22"},
                                      {"height", "12"},
                                      {"aria-hidden", "true"}},
                                     line) +
                                 text(reference.name));
  }
  return element("ul", {{"class", "legend"}}, entries);
}

Markup labels_of(const Axis& axis, std::string_view side, std::string_view place) {
  Markup labels;
  for (const double tick : axis.ticks()) {
    const double position = axis.position(tick);
    labels += element("span", {{"style", fmt::format("{}:{}", place, percent(position))}},
                      text(written_on_axis(tick, axis.unit())));
  }
  return element("div", {{"class", std::string(side)}, {"aria-hidden", "true"}}, labels);
}

}  // namespace

Markup draw(const LineChart& chart) {
  const bool any = std::ranges::any_of(chart.series,
                                       [](const Series& series) { return !series.points.empty(); });
  if (!any) {
    return {};
  }
  const Frame frame = frame_of(chart);
  Markup stretched;
  Markup marks;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    stretched += lines_of(frame, chart.series[i], series_class(i));
    marks += marks_of(chart, frame, i);
  }
  const Markup drawing = element(
      "svg",
      {{"class", "drawing"},
       {"role", "group"},
       {"aria-label", fmt::format("{}: {} by {}", chart.title, chart.y_label, chart.x_label)},
       {"data-x-scale", frame.x.scale() == Scale::log ? "log" : "linear"}},
      grid(frame) + references_of(chart, frame) +
          element("svg",
                  {{"viewBox", fmt::format("0 0 {0} {0}", kStretched)},
                   {"preserveAspectRatio", "none"},
                   {"width", "100%"},
                   {"height", "100%"},
                   {"aria-hidden", "true"}},
                  stretched) +
          marks);
  const std::string_view unit = unit_name(chart.y_unit);
  Markup caption = text(chart.title);
  caption += element(
      "small", fmt::format("{}{}{}", chart.y_label, unit.empty() ? "" : fmt::format(", {}", unit),
                           chart.spread.empty() ? "" : "; " + chart.spread));
  const bool one = chart.series.size() == 1 && chart.references.empty();
  return element("figure", {{"class", "lines"}, {"id", chart.id}},
                 element("figcaption", caption) + (one ? Markup() : legend(chart)) +
                     element("div", {{"class", "plot"}},
                             labels_of(frame.y, "y-labels", "bottom") + drawing +
                                 labels_of(frame.x, "x-labels", "left")) +
                     element("p", {{"class", "x-title"}}, text(chart.x_label)));
}

}  // namespace kvcache::report::html
