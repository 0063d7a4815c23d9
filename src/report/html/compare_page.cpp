#include "report/html/compare_page.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "report/html/bar_chart.hpp"
#include "report/html/measured_where.hpp"
#include "report/html/page.hpp"
#include "report/html/table.hpp"
#include "report/statistics.hpp"

namespace kvcache::report::html {
namespace {

Markup rounds_of(const FigureComparison& figure, const std::vector<double>& rounds,
                 const char* which) {
  const Unit unit = unit_of(figure.kind);
  Markup shown =
      show(derived_figure(median(rounds), unit, fmt::format("{}: the rounds' median", which)));
  if (rounds.size() > 1) {
    const auto [least, most] = std::ranges::minmax(rounds);
    shown += text(" ") + element("small", written_spread(least, most, unit));
  }
  return shown;
}

bool has_verdict(const FigureComparison& figure) {
  return figure.verdict == Verdict::smaller || figure.verdict == Verdict::larger;
}

Markup verdict_of(const FigureComparison& figure) {
  const std::string words = verdict_text(figure);
  const char* kind = words == "faster" ? "better" : words == "slower" ? "worse" : "quiet";
  return element("span", {{"class", has_verdict(figure) ? kind : "quiet"}}, text(words));
}

Markup figures_content(const ComparedRuns& runs, const BenchComparison& comparison) {
  FigureTable table(fmt::format("First: {}; second: {}", runs.first_name, runs.second_name),
                    {"Figure", "First", "Second", "Second ÷ first", "The second is", "p"});
  BarChart chart{.id = "ratios",
                 .title = "Second ÷ first",
                 .note = "with the interval of the test; 1× is no difference",
                 .unit = Unit::ratio,
                 .bars = {},
                 .references = {{"no difference", 1}},
                 .marks = true};
  for (const FigureComparison& figure : comparison.figures) {
    const bool judged = figure.verdict != Verdict::one_value;
    const Figure ratio = derived_figure(figure.ratio.ratio, Unit::ratio,
                                        "the median of all second ÷ first of the rounds");
    Markup shown = show(ratio);
    if (judged) {
      shown += text(" ") +
               element("small", written_spread(figure.ratio.low, figure.ratio.high, Unit::ratio)) +
               (figure.ratio.coverage < 0.945
                    ? element("small", fmt::format(" ({:.0f} %)", figure.ratio.coverage * 100))
                    : Markup());
      chart.bars.push_back(
          {figure.name, ratio, Spread{figure.ratio.low, figure.ratio.high}, has_verdict(figure)});
    }
    table.add_row({text(figure.name), rounds_of(figure, figure.first, "first"),
                   rounds_of(figure, figure.second, "second"), shown, verdict_of(figure),
                   judged ? element("data", {{"value", exact(figure.p)}},
                                    text(fmt::format("{:.3f}", figure.p)))
                          : Markup()});
  }
  return element("p", {{"class", "quiet"}}, text(comparison_rule())) + draw(chart) +
         table.to_markup();
}

Markup list_of_lines(const std::vector<std::string>& lines) {
  Markup entries;
  for (const std::string& line : lines) {
    entries += element("li", line);
  }
  return element("ul", entries);
}

}  // namespace

Unit unit_of(FigureKind kind) {
  switch (kind) {
    case FigureKind::milliseconds:
      return Unit::milliseconds;
    case FigureKind::microseconds:
      return Unit::microseconds;
    case FigureKind::rate:
      return Unit::per_second;
    case FigureKind::bytes:
      return Unit::bytes;
    case FigureKind::ratio:
      break;
  }
  return Unit::ratio;
}

std::string compare_page(const ComparedRuns& runs, const BenchComparison& comparison) {
  Page page;
  page.title = fmt::format("{} and {}", runs.first_name, runs.second_name);
  page.subtitle = fmt::format("Two runs of kvcache bench, {} and {}", date_of(runs.first.front()),
                              date_of(runs.second.front()));
  if (!comparison.not_holding.empty()) {
    page.sections.push_back(
        {"agreement", "No comparison: something does not hold",
         element("div", {{"class", "verdict bad"}}, list_of_lines(comparison.not_holding))});
  } else {
    page.sections.push_back({"figures", "What differs", figures_content(runs, comparison)});
  }
  if (!comparison.different_settings.empty()) {
    page.sections.push_back(
        {"settings", "Not measured alike",
         element("p", text("First, second:")) + list_of_lines(comparison.different_settings)});
  }
  if (!comparison.only_one.empty()) {
    page.sections.push_back({"only", "In one of them only", list_of_lines(comparison.only_one)});
  }
  page.sections.push_back({"first", "First: " + runs.first_name, measured_where(runs.first)});
  page.sections.push_back({"second", "Second: " + runs.second_name, measured_where(runs.second)});
  return to_document(page);
}

}  // namespace kvcache::report::html
