// Modes fork, save and window: what a prefix costs that is used again, saved, or let go.

#include <fmt/format.h>

#include "report/html/bar_chart.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/table.hpp"

namespace kvcache::report::html {

std::vector<Part> fork_parts(const JsonValue& bench) {
  const JsonValue fork = bench.field("fork_us");
  FigureTable table("A fork", {"What", "Measured"});
  table.add_row({text("tokens of the sequence"), show(figure(bench, "prompt", Unit::count))});
  table.add_row({text("forks"), show(figure(fork, "count", Unit::count))});
  table.add_row({text("median"), show(figure(fork, "median", Unit::microseconds))});
  table.add_row({text("90th percentile"), show(figure(fork, "p90", Unit::microseconds))});
  table.add_row({text("bytes that all forks copied"),
                 show(figure(bench, "bytes_copied_by_forks", Unit::bytes))});
  table.add_row({text("bytes that a fork's first write copied"),
                 show(figure(bench, "bytes_copied_by_first_write", Unit::bytes))});
  table.add_row({text("bytes of a block"), show(figure(bench, "block_bytes", Unit::bytes))});
  return {{Topic::sequences, "Forks", table.to_markup()}};
}

std::vector<Part> save_parts(const JsonValue& bench) {
  BarChart chart{.id = drawing_id(bench, "save"),
                 .title = "A saved sequence",
                 .note = fmt::format("median; {}", kSpreadOfTimes),
                 .unit = Unit::milliseconds,
                 .bars = {},
                 .references = {}};
  FigureTable table("Loading against computing", {"What", "Measured"});
  for (const char* what : {"compute", "save", "load"}) {
    const Measured measured = measured_times(bench.field(what));
    chart.bars.push_back({what, measured.median, measured.spread});
    table.add_row({text(what), show(measured.median)});
  }
  table.add_row({text("loading is faster by"),
                 show(measured_rounds(bench.field("load_over_compute"), Unit::ratio))});
  table.add_row({text("tokens"), show(figure(bench, "prompt", Unit::count))});
  table.add_row({text("the file"), show(figure(bench, "file_bytes", Unit::bytes))});
  return {{Topic::sequences, "Saved states", beside(draw(chart), table.to_markup())}};
}

std::vector<Part> window_parts(const JsonValue& bench) {
  const JsonValue window = bench.field("window");
  FigureTable table("A text longer than the context", {"What", "Measured"});
  table.add_row({text("window"), show(figure(window, "size", Unit::count))});
  table.add_row({text("stride"), show(figure(window, "stride", Unit::count))});
  table.add_row({text("sinks"), show(figure(window, "sinks", Unit::count))});
  table.add_row({text("tokens"), show(figure(bench, "tokens", Unit::count))});
  table.add_row({text("slides"), show(figure(bench, "slides", Unit::count))});
  table.add_row({text("a token, slides included"),
                 show(figure(bench, "amortised_ms_per_token", Unit::milliseconds))});
  if (bench.has("decode")) {
    table.add_row({text("a token without a slide"),
                   show(figure(bench.field("decode"), "median_ms", Unit::milliseconds))});
    table.add_row({text("the first over the second"),
                   show(figure(bench, "amortised_over_decode", Unit::ratio))});
  }
  table.add_row({text("a token with a slide"),
                 show(figure(bench.field("slide"), "median_ms", Unit::milliseconds))});
  table.add_row({text("keys and values at their peak"),
                 show(figure(bench, "cache_bytes_peak", Unit::bytes))});
  return {{Topic::sequences, "Windows", table.to_markup()}};
}

}  // namespace kvcache::report::html
