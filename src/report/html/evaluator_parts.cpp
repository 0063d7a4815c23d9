// Mode evaluator: threads that ask one model.

#include <fmt/format.h>

#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/line_chart.hpp"
#include "report/html/table.hpp"

namespace kvcache::report::html {

std::vector<Part> evaluator_parts(const JsonValue& bench) {
  LineChart chart{.id = drawing_id(bench, "evaluator"),
                  .title = "Requests a second, by clients",
                  .x_label = "clients, a thread each",
                  .x_scale = Scale::log,
                  .y_label = "requests a second",
                  .y_unit = Unit::per_second,
                  .spread = kSpreadOfRounds,
                  .series = {{"requests", {}}},
                  .references = {}};
  FigureTable table("Clients that ask one model", {"Clients", "Requests", "Rows a run",
                                                   "Wait, median", "99th percentile", "Most"});
  for (const JsonValue& crowd : bench.field("crowds").elements()) {
    const auto clients = static_cast<double>(crowd.field("clients").size(1, 1U << 20U));
    const Measured requests = measured_rounds(crowd.field("requests_per_second"), Unit::per_second);
    chart.series.front().points.push_back({clients, requests.median, requests.spread});
    const JsonValue wait = crowd.field("wait_ms");
    table.add_row({show(figure(crowd, "clients", Unit::count)), show(requests),
                   show(figure(crowd, "rows_per_run", Unit::number)),
                   show(figure(wait, "median", Unit::milliseconds)),
                   show(figure(wait, "p99", Unit::milliseconds)),
                   show(figure(wait, "max", Unit::milliseconds))});
  }
  const Markup sentence =
      element("p", text("A request of one client takes ") +
                       show(figure(bench, "overhead_us", Unit::microseconds)) +
                       text(" longer than the direct call's ") +
                       show(figure(bench, "direct_call_us", Unit::microseconds)) + text("."));
  return {{Topic::sequences, "Many clients", sentence + draw(chart) + table.to_markup()}};
}

}  // namespace kvcache::report::html
