// Mode batch: sequences decoded together.

#include <fmt/format.h>

#include "report/html/bar_chart.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/table.hpp"

namespace kvcache::report::html {

std::vector<Part> batch_parts(const JsonValue& bench) {
  BarChart chart{.id = drawing_id(bench, "batch"),
                 .title = "Sequences decoded together",
                 .note = fmt::format("tokens a second of all rows; {}", kSpreadOfRounds),
                 .unit = Unit::per_second,
                 .bars = {},
                 .references = {}};
  FigureTable table("Rows of one run", {"Decoded together", "Tokens", "Over 1 row"});
  for (const JsonValue& way : bench.field("ways").elements()) {
    const std::string name = way.field("name").text();
    const Measured tokens = measured_rounds(way.field("tokens_per_second"), Unit::per_second);
    chart.bars.push_back({name, tokens.median, tokens.spread});
    table.add_row({text(name), show(tokens.median),
                   show(measured_rounds(way.field("over_one_row"), Unit::ratio))});
  }
  const Markup sentence = element(
      "p", text("Rows of ") + show(figure(bench, "depth", Unit::count)) +
               text(" tokens, ragged ones of half to one and a half as many. Ragged over "
                    "equal rows: ") +
               show(measured_rounds(bench.field("ragged_over_equal"), Unit::ratio)) + text("."));
  return {
      {Topic::sequences, "Decoded together", sentence + beside(draw(chart), table.to_markup())}};
}

}  // namespace kvcache::report::html
