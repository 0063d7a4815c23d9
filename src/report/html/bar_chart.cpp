#include "report/html/bar_chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kvcache::report::html {
namespace {

Markup vertical(const Axis& axis, double value, const Attributes& more) {
  const std::string x = percent(axis.position(value));
  Attributes attributes{{"x1", x}, {"x2", x}, {"y1", "0"}, {"y2", "100%"}};
  attributes.insert(attributes.end(), more.begin(), more.end());
  return element("line", attributes);
}

Attributes values_of(const Bar& bar) {
  Attributes values{{"data-value", exact(bar.figure.value)}};
  if (!bar.figure.json.empty()) {
    values.push_back({"data-json", bar.figure.json});
  }
  return values;
}

Markup rectangle_of(const Axis& axis, const Bar& bar) {
  const double zero = axis.position(0);
  const double end = axis.position(bar.figure.value);
  Attributes attributes{{"class", bar.ours ? "bar s1" : "bar other"},
                        {"x", percent(std::min(zero, end))},
                        {"y", "15%"},
                        {"width", percent(std::abs(end - zero))},
                        {"height", "70%"}};
  const Attributes values = values_of(bar);
  attributes.insert(attributes.end(), values.begin(), values.end());
  return element("rect", attributes);
}

Markup mark_of(const Axis& axis, const Bar& bar) {
  Attributes attributes{{"class", bar.ours ? "bar s1" : "bar other"},
                        {"cx", percent(axis.position(bar.figure.value))},
                        {"cy", "50%"},
                        {"r", "5"}};
  const Attributes values = values_of(bar);
  attributes.insert(attributes.end(), values.begin(), values.end());
  return element("circle", attributes);
}

Markup drawing_of(const BarChart& chart, const Axis& axis, const Bar& bar) {
  Markup drawn;
  for (const double tick : axis.ticks()) {
    drawn +=
        vertical(axis, tick, {{"class", "grid"}, {"data-axis", "x"}, {"data-value", exact(tick)}});
  }
  drawn += chart.marks ? mark_of(axis, bar) : rectangle_of(axis, bar);
  for (const Reference& reference : chart.references) {
    drawn += vertical(axis, reference.y,
                      {{"class", "reference"}, {"data-reference", exact(reference.y)}});
  }
  if (bar.spread) {
    drawn += element("line", {{"class", "whisker"},
                              {"data-low", exact(bar.spread->low)},
                              {"data-high", exact(bar.spread->high)},
                              {"x1", percent(axis.position(bar.spread->low))},
                              {"x2", percent(axis.position(bar.spread->high))},
                              {"y1", "50%"},
                              {"y2", "50%"}});
  }
  return element("svg", {{"class", "bar-drawing"}, {"aria-hidden", "true"}}, drawn);
}

}  // namespace

Markup draw(const BarChart& chart) {
  if (chart.bars.empty()) {
    return {};
  }
  double least = chart.marks ? chart.bars.front().figure.value : 0;
  double most = least;
  for (const Bar& bar : chart.bars) {
    least = std::min(least, bar.spread ? bar.spread->low : bar.figure.value);
    most = std::max(most, bar.spread ? bar.spread->high : bar.figure.value);
  }
  for (const Reference& reference : chart.references) {
    most = std::max(most, reference.y);
    least = std::min(least, reference.y);
  }
  const Axis axis = Axis::linear(least, most, chart.unit, !chart.marks);
  Markup rows;
  for (const Bar& bar : chart.bars) {
    Markup figure = show(bar.figure);
    if (bar.spread) {
      figure +=
          element("small", written_spread(bar.spread->low, bar.spread->high, bar.figure.unit));
    }
    rows += element("li", element("span", {{"class", "bar-name"}}, text(bar.name)) +
                              drawing_of(chart, axis, bar) +
                              element("span", {{"class", "bar-figure"}}, figure));
  }
  Markup labels;
  for (const double tick : axis.ticks()) {
    labels += element("span", {{"style", fmt::format("left:{}", percent(axis.position(tick)))}},
                      text(written_on_axis(tick, axis.unit())));
  }
  const Markup ticks =
      element("div", {{"class", "bar-labels"}, {"aria-hidden", "true"}}, element("div", labels));
  Markup caption = text(chart.title);
  if (!chart.note.empty()) {
    caption += element("small", chart.note);
  }
  return element(
      "figure", {{"class", "bars"}, {"id", chart.id}},
      element("figcaption", caption) + element("ul", {{"class", "bar-rows"}}, rows) + ticks);
}

}  // namespace kvcache::report::html
