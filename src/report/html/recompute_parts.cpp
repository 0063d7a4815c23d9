// Mode recompute: how much faster a text is made with the cache, by its length.

#include <fmt/format.h>

#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/line_chart.hpp"
#include "report/html/table.hpp"

namespace kvcache::report::html {

std::vector<Part> recompute_parts(const JsonValue& bench) {
  LineChart chart{.id = drawing_id(bench, "speedup"),
                  .title = "Speedup of the cache, by length",
                  .x_label = "new tokens",
                  .x_scale = Scale::log,
                  .y_label = "time without a cache ÷ time with it",
                  .y_unit = Unit::ratio,
                  .spread = kSpreadOfRounds,
                  .series = {{"speedup", {}}},
                  .references = {{"no gain", 1}}};
  FigureTable table("Making N tokens from one", {"N", "With a cache", "Without", "Speedup"});
  for (const JsonValue& point : bench.field("curve").elements()) {
    const Figure tokens = figure(point, "tokens", Unit::count);
    if (!(tokens.value > 0)) {
      point.field("tokens").refuse("must be at least 1");
    }
    const Measured speedup = measured_rounds(point.field("speedup"), Unit::ratio);
    chart.series.front().points.push_back({tokens.value, speedup.median, speedup.spread});
    table.add_row({show(tokens), show(measured_times(point.field("with_cache")).median),
                   show(measured_times(point.field("without_cache")).median), show(speedup)});
  }
  const Markup sentence = element(
      "p", text("Without a cache every token costs a forward over the whole text. Those of ") +
               show(figure(bench, "lengths_measured", Unit::count)) + text(" of ") +
               show(figure(bench, "tokens", Unit::count)) +
               text(" lengths were measured in each round, the others interpolated."));
  return {{Topic::speedup, "Against no cache", sentence + beside(draw(chart), table.to_markup())}};
}

}  // namespace kvcache::report::html
