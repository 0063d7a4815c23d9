// Lines over an axis, with the spread of each point; each point says its exact figure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/html/axis.hpp"
#include "report/html/figure.hpp"
#include "report/html/markup.hpp"

namespace kvcache::report::html {

struct Spread {
  double low = 0;
  double high = 0;
};

struct Point {
  double x = 0;
  Figure y;
  std::optional<Spread> spread;
};

struct Series {
  std::string name;
  std::vector<Point> points;  // by x
};

/// A value that the lines are to be seen against, such as 1 of a speedup.
struct Reference {
  std::string name;
  double y = 0;
};

struct LineChart {
  std::string id;  // of the drawing in the page
  std::string title;
  std::string x_label;
  Scale x_scale = Scale::linear;  // log: positive values
  std::string y_label;
  Unit y_unit = Unit::number;
  std::string spread;  // what the spreads are: "10th to 90th percentile of the rounds"
  std::vector<Series> series;
  std::vector<Reference> references;
};

/// Nothing where there is no point.
Markup draw(const LineChart& chart);

}  // namespace kvcache::report::html
