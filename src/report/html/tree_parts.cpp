// Modes tree and search: many continuations of a prefix in one run.

#include <fmt/format.h>

#include <map>

#include "report/html/bar_chart.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/line_chart.hpp"
#include "report/html/table.hpp"

namespace kvcache::report::html {
namespace {

constexpr std::size_t kMostCount = std::size_t{1} << 31U;

Part siblings_part(const JsonValue& bench) {
  BarChart chart{.id = drawing_id(bench, "tree"),
                 .title = fmt::format("{} continuations of {} tokens",
                                      bench.field("siblings").size(1, kMostCount),
                                      bench.field("prefix").size(0, kMostCount)),
                 .note = fmt::format("median time of all; {}", kSpreadOfTimes),
                 .unit = Unit::milliseconds,
                 .bars = {},
                 .references = {}};
  FigureTable table("A tree against other ways", {"Computed", "Median", "A tree is faster by"});
  const auto add = [&](const char* field, const char* name, const Markup& faster) {
    const Measured measured = measured_times(bench.field(field));
    chart.bars.push_back({name, measured.median, measured.spread});
    table.add_row({text(name), show(measured.median), faster});
  };
  add("tree", "as one tree", {});
  add("forks", "by a fork each", show(measured_rounds(bench.field("over_forks"), Unit::ratio)));
  add("fresh", "from nothing each", show(measured_rounds(bench.field("over_fresh"), Unit::ratio)));
  return {Topic::trees, "Continuations of one prefix", beside(draw(chart), table.to_markup())};
}

/// Where a tree pays: by prefix a drawing, by depth a line.
Part curve_part(const JsonValue& bench) {
  std::map<std::size_t, std::map<std::size_t, Series>> drawings;
  FigureTable table("A tree of chains over forks and over nothing",
                    {"Prefix, depth, siblings", "As one tree", "Over forks", "Over fresh"});
  for (const JsonValue& point : bench.field("curve").elements()) {
    const std::size_t prefix = point.field("prefix").size(0, kMostCount);
    const std::size_t depth = point.field("depth").size(1, kMostCount);
    const std::size_t siblings = point.field("siblings").size(1, kMostCount);
    const Measured over_forks = measured_rounds(point.field("over_forks"), Unit::ratio);
    Series& series = drawings[prefix][depth];
    series.name = fmt::format("chains of {}", depth);
    series.points.push_back({static_cast<double>(siblings), over_forks.median, over_forks.spread});
    table.add_row({text(fmt::format("{}, {}, {}", prefix, depth, siblings)),
                   show(figure(point.field("tree"), "median_ms", Unit::milliseconds)),
                   show(over_forks),
                   show(measured_rounds(point.field("over_fresh"), Unit::ratio))});
  }
  Markup drawn;
  for (const auto& [prefix, by_depth] : drawings) {
    LineChart chart{.id = drawing_id(bench, fmt::format("tree-curve-{}", prefix)),
                    .title = fmt::format("A prefix of {} tokens", prefix),
                    .x_label = "siblings",
                    .x_scale = Scale::log,
                    .y_label = "a fork each ÷ one tree",
                    .y_unit = Unit::ratio,
                    .spread = kSpreadOfRounds,
                    .series = {},
                    .references = {{"no gain", 1}}};
    for (const auto& [depth, series] : by_depth) {
      chart.series.push_back(series);
    }
    drawn += draw(chart);
  }
  return {Topic::trees, "Where a tree pays",
          drawn + folded("The figures of every point", table.to_markup())};
}

}  // namespace

std::vector<Part> tree_parts(const JsonValue& bench) {
  return {bench.has("curve") ? curve_part(bench) : siblings_part(bench)};
}

std::vector<Part> search_parts(const JsonValue& bench) {
  LineChart chart{.id = drawing_id(bench, "search"),
                  .title = "Nodes a second, by games in a run",
                  .x_label = "games",
                  .x_scale = Scale::log,
                  .y_label = "nodes a second",
                  .y_unit = Unit::per_second,
                  .spread = kSpreadOfRounds,
                  .series = {},
                  .references = {}};
  FigureTable table("Trees of many games in one run",
                    {"Games, callers", "Nodes", "A step's evaluation", "Reading it"});
  std::map<std::size_t, Series> by_callers;
  for (const JsonValue& way : bench.field("ways").elements()) {
    const std::size_t games = way.field("games").size(1, kMostCount);
    const std::size_t callers = way.field("callers").size(1, kMostCount);
    const Measured nodes = measured_rounds(way.field("nodes_per_second"), Unit::per_second);
    Series& series = by_callers[callers];
    series.name = callers == 1 ? "one caller" : fmt::format("{} callers", callers);
    series.points.push_back({static_cast<double>(games), nodes.median, nodes.spread});
    table.add_row({text(fmt::format("{}, {}", games, callers)), show(nodes),
                   show(measured_rounds(way.field("evaluate_ms"), Unit::milliseconds).median),
                   show(measured_rounds(way.field("read_ms"), Unit::milliseconds).median)});
  }
  for (const auto& [callers, series] : by_callers) {
    chart.series.push_back(series);
  }
  return {{Topic::trees, "Searches of many games", draw(chart) + table.to_markup()}};
}

}  // namespace kvcache::report::html
