// Bars beside each other, with the spread of each; each bar's exact figure stands at its end.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/html/figure.hpp"
#include "report/html/line_chart.hpp"
#include "report/html/markup.hpp"

namespace kvcache::report::html {

struct Bar {
  std::string name;
  Figure figure;
  std::optional<Spread> spread;
  bool ours = true;  // what a report is about; the others stand behind it
};

struct BarChart {
  std::string id;  // of the drawing in the page
  std::string title;
  std::string note;  // what the whiskers are, which way is better
  Unit unit = Unit::number;
  std::vector<Bar> bars;
  std::vector<Reference> references;
  bool marks = false;  // instead of bars, where zero is no place to begin at
};

/// Nothing where there is no bar.
Markup draw(const BarChart& chart);

}  // namespace kvcache::report::html
