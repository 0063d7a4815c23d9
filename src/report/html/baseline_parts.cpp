// The other runtimes that bench/peers measured beside ours.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "report/html/bar_chart.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/table.hpp"
#include "report/statistics.hpp"

namespace kvcache::report::html {
namespace {

constexpr std::string_view kDecode = "decode_ms_";

/// One way of running the model, and the medians of its runs.
struct Baseline {
  std::string name;
  std::string width;
  bool ours = false;
  bool agrees = false;
  JsonValue json;
};

std::vector<Baseline> baselines_of(const JsonValue& peers) {
  std::vector<Baseline> baselines;
  const JsonValue list = peers.field(peers.has("contenders") ? "contenders" : "baselines");
  for (const JsonValue& entry : list.elements()) {
    const std::string runtime = entry.field("runtime").text();
    // Speeds stand beside an agreement, or nowhere.
    const bool agrees = entry.has("agreement") && entry.field("agreement").has("holds") &&
                        entry.field("agreement").field("holds").flag();
    baselines.push_back({fmt::format("{} {}", runtime, entry.field("variant").text()),
                         entry.field("width").text(), runtime == "kvcache", agrees, entry});
  }
  return baselines;
}

/// The depths that anything was decoded at.
std::vector<std::size_t> depths_of(const std::vector<Baseline>& baselines) {
  std::set<std::size_t> depths;
  for (const Baseline& baseline : baselines) {
    for (const JsonValue& run : baseline.json.field("runs").elements()) {
      for (const auto& [name, value] : run.fields()) {
        std::size_t depth = 0;
        const char* end = name.data() + name.size();
        if (name.starts_with(kDecode) &&
            std::from_chars(name.data() + kDecode.size(), end, depth).ptr == end) {
          depths.insert(depth);
        }
      }
    }
  }
  return {depths.begin(), depths.end()};
}

/// The median of a run's tokens, of each run.
std::vector<double> run_medians(const JsonValue& baseline, const std::string& field) {
  std::vector<double> medians;
  for (const JsonValue& run : baseline.field("runs").elements()) {
    if (run.has(field)) {
      medians.push_back(median(samples_of(run, field)));
    }
  }
  return medians;
}

/// The bars of one width of weights at one depth.
std::vector<Bar> bars_of(const std::vector<Baseline>& baselines, const std::string& width,
                         std::size_t depth) {
  const std::string field = fmt::format("{}{}", kDecode, depth);
  std::vector<Bar> bars;
  for (const Baseline& baseline : baselines) {
    const std::vector<double> medians = run_medians(baseline.json, field);
    if (baseline.width == width && baseline.agrees && !medians.empty()) {
      bars.push_back(
          {baseline.name,
           derived_figure(
               median(medians), Unit::milliseconds,
               fmt::format("the runs' median of {}.runs[].{}", baseline.json.place(), field)),
           Spread{*std::ranges::min_element(medians), *std::ranges::max_element(medians)},
           baseline.ours});
    }
  }
  return bars;
}

std::vector<std::string> widths_of(const std::vector<Baseline>& baselines) {
  std::vector<std::string> widths;  // in the file's order
  for (const Baseline& baseline : baselines) {
    if (std::ranges::find(widths, baseline.width) == widths.end()) {
      widths.push_back(baseline.width);
    }
  }
  return widths;
}

Markup agreements(const std::vector<Baseline>& baselines) {
  FigureTable table("Agreement with the same weights' reference",
                    {"Runtime", "Holds", "Greedy tokens equal"});
  for (const Baseline& baseline : baselines) {
    Markup equal;
    if (baseline.json.has("agreement") && baseline.json.field("agreement").has("greedy_equal")) {
      const JsonValue agreement = baseline.json.field("agreement");
      equal = show(figure(agreement, "greedy_equal", Unit::count)) + text(" of ") +
              show(figure(agreement, "greedy_of", Unit::count));
    }
    table.add_row({text(baseline.name),
                   element("span", {{"class", baseline.agrees ? "good" : "bad"}},
                           text(baseline.agrees               ? "yes"
                                : baseline.json.has("failed") ? "did not run"
                                                              : "no: left out above")),
                   equal});
  }
  return folded("Whether they agree", table.to_markup());
}

}  // namespace

std::vector<Part> baseline_parts(const JsonValue& peers) {
  constexpr std::array<std::string_view, 1> kFormat{"kvcache-peers"};
  static_cast<void>(peers.field("format").text_of(kFormat));
  const std::vector<Baseline> baselines = baselines_of(peers);
  Markup content;
  std::size_t number = 0;
  for (const std::string& width : widths_of(baselines)) {
    for (const std::size_t depth : depths_of(baselines)) {
      content +=
          draw(BarChart{.id = drawing_id(peers, fmt::format("baselines-{}", number++)),
                        .title = fmt::format("Weights of {}: a token at depth {}", width, depth),
                        .note = "the runs' median; least to most of the runs",
                        .unit = Unit::milliseconds,
                        .bars = bars_of(baselines, width, depth),
                        .references = {}});
    }
  }
  std::string where = fmt::format("{} threads, {} rounds by turns in one session",
                                  peers.field("threads").size(1, 1U << 20U),
                                  peers.field("rounds").size(1, 1U << 20U));
  if (peers.has("environment")) {
    const JsonValue environment = peers.field("environment");
    where += fmt::format("; {}, {}", environment.field("processor").text(),
                         environment.field("date").text());
  }
  if (peers.has("model")) {
    where = fmt::format("{}; {}", peers.field("model").text(), where);
  }
  // The figures' places are in that file, not in the measurement's.
  return {{Topic::baselines, "Other runtimes",
           element("div", {{"data-document", "baselines"}},
                   element("p", {{"class", "quiet"}}, text(fmt::format("{}.", where))) + content +
                       agreements(baselines))}};
}

}  // namespace kvcache::report::html
