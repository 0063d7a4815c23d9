// Mode start: from a process's start to its first tokens.

#include <fmt/format.h>

#include "report/html/bar_chart.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/table.hpp"

namespace kvcache::report::html {

std::vector<Part> start_parts(const JsonValue& bench) {
  BarChart chart{
      .id = drawing_id(bench, "start"),
      .title = "To the first token, from the process's start",
      .note = fmt::format("median; {}; warm: the files are in the system's memory", kSpreadOfTimes),
      .unit = Unit::milliseconds,
      .bars = {},
      .references = {}};
  FigureTable table("", {});
  for (const JsonValue& entry : bench.field("start").elements()) {
    const std::string name =
        fmt::format("{}, {}", entry.field("files").text(), entry.field("weights").text());
    std::vector<Markup> row{text(name)};
    std::vector<std::string> names{"Files, weights"};
    for (const int token : {1, 16, 64}) {
      const std::string field = fmt::format("token_{}", token);
      if (!entry.has(field)) {
        continue;  // beyond a small model's positions
      }
      const Measured measured = measured_times(entry.field(field));
      if (token == 1) {
        chart.bars.push_back({name, measured.median, measured.spread});
      }
      row.push_back(show(measured.median));
      names.push_back(fmt::format("Token {}", token));
    }
    if (table.empty()) {
      table = FigureTable("To a token, from the process's start", names);
    }
    table.add_row(std::move(row));
  }
  return {{Topic::start, "A process's start", beside(draw(chart), table.to_markup())}};
}

}  // namespace kvcache::report::html
