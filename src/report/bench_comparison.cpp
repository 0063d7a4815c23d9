#include "report/bench_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace kvcache::report {
namespace {

struct Setting {
  const char* name;
  const char* object;  // that the field is in; empty: the measurement itself
  const char* field;
};

constexpr std::array kSettings{Setting{"model", "model", "source"},
                               Setting{"model's digest", "model", "digest"},
                               Setting{"type", "model", "dtype"},
                               Setting{"type of the cache", "model", "cache_dtype"},
                               Setting{"weights", "model", "weights"},
                               Setting{"activations", "model", "activations"},
                               Setting{"device", "", "device"},
                               Setting{"processor", "environment", "processor"},
                               Setting{"kvcache", "environment", "kvcache_version"},
                               Setting{"ONNX Runtime", "environment", "onnxruntime_version"},
                               Setting{"compiler", "environment", "compiler"},
                               Setting{"system", "environment", "operating_system"}};

std::string text_of(const JsonValue& bench, const Setting& setting) {
  const std::string_view object(setting.object);
  if (!object.empty() && !bench.has(object)) {
    return "";
  }
  const JsonValue where = object.empty() ? bench : bench.field(object);
  if (!where.has(setting.field) || !where.field(setting.field).is_text()) {
    return "";
  }
  const std::string text = where.field(setting.field).text();
  return text.substr(0, text.find("; cuda: "));  // why another device was not taken
}

void add_different_settings(const JsonValue& first, const JsonValue& second,
                            std::vector<std::string>& different) {
  const auto add = [&](const std::string& line) {
    if (std::ranges::find(different, line) == different.end()) {  // once, whatever the modes
      different.push_back(line);
    }
  };
  for (const Setting& setting : kSettings) {
    const std::string one = text_of(first, setting);
    const std::string other = text_of(second, setting);
    if (one != other && !one.empty() && !other.empty()) {
      add(fmt::format("{}: {}, {}", setting.name, one, other));
    }
  }
  constexpr std::size_t kMostThreads = std::size_t{1} << 20U;
  const std::size_t threads[] = {first.field("threads").size(0, kMostThreads),
                                 second.field("threads").size(0, kMostThreads)};
  if (threads[0] != threads[1]) {
    add(fmt::format("threads: {}, {}", threads[0], threads[1]));
  }
}

void add_not_holding(const JsonValue& bench, const char* which, std::vector<std::string>& reasons) {
  const std::string mode = bench.field("mode").text();
  if (!bench.field("agreement").field("holds").flag()) {
    reasons.push_back(
        fmt::format("the {} run of mode {}: cached and uncached do not agree", which, mode));
  }
  for (const JsonValue& broken : bench.field("broken").elements()) {
    reasons.push_back(fmt::format("the {} run of mode {}: {}", which, mode, broken.text()));
  }
}

void compare_figures(const std::vector<BenchFigure>& first, const std::vector<BenchFigure>& second,
                     BenchComparison& comparison) {
  for (const BenchFigure& figure : first) {
    const auto other = std::ranges::find(second, figure.name, &BenchFigure::name);
    if (other == second.end()) {
      comparison.only_one.push_back(figure.name + " (first)");
      continue;
    }
    comparison.figures.push_back({.name = figure.name,
                                  .kind = figure.kind,
                                  .first = figure.rounds,
                                  .second = other->rounds,
                                  .ratio = ratio_interval(figure.rounds, other->rounds)});
  }
  for (const BenchFigure& figure : second) {
    if (std::ranges::find(first, figure.name, &BenchFigure::name) == first.end()) {
      comparison.only_one.push_back(figure.name + " (second)");
    }
  }
}

bool has_rounds(const FigureComparison& figure) {
  return figure.first.size() > 1 && figure.second.size() > 1;
}

/// All figures together, so that many of them make no difference likelier to be found by chance.
void judge(std::vector<FigureComparison>& figures) {
  std::vector<double> p;
  std::vector<double> least;
  for (const FigureComparison& figure : figures) {
    if (has_rounds(figure)) {
      p.push_back(mann_whitney_p(figure.first, figure.second));
      least.push_back(least_mann_whitney_p(figure.first.size(), figure.second.size()));
    }
  }
  const std::vector<double> adjusted = false_discovery_adjusted(p);
  std::size_t at = 0;
  for (FigureComparison& figure : figures) {
    if (!has_rounds(figure)) {
      continue;
    }
    figure.p = adjusted[at];
    const bool apart = p[at] <= least[at];  // as clearly as so many rounds can be
    if (figure.p <= kSignificance) {
      figure.verdict = figure.ratio.ratio < 1 ? Verdict::smaller : Verdict::larger;
    } else {
      figure.verdict = apart ? Verdict::too_few_rounds : Verdict::no_difference;
    }
    ++at;
  }
}

std::string modes_text(const std::vector<JsonValue>& benches) {
  std::string text;
  for (const JsonValue& bench : benches) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", bench.field("mode").text());
  }
  return text;
}

}  // namespace

BenchComparison compare_benches(const std::vector<JsonValue>& first,
                                const std::vector<JsonValue>& second) {
  BenchComparison comparison;
  for (const JsonValue& one : first) {
    const std::string mode = one.field("mode").text();
    const auto other = std::ranges::find_if(
        second, [&](const JsonValue& bench) { return bench.field("mode").text() == mode; });
    if (other == second.end()) {
      continue;
    }
    comparison.modes.push_back(mode);
    add_different_settings(one, *other, comparison.different_settings);
    add_not_holding(one, "first", comparison.not_holding);
    add_not_holding(*other, "second", comparison.not_holding);
    compare_figures(bench_figures(one), bench_figures(*other), comparison);
  }
  if (comparison.modes.empty()) {
    second.front().field("mode").refuse(
        fmt::format("must be a mode of the first file, which has {}", modes_text(first)));
  }
  judge(comparison.figures);
  return comparison;
}

std::string verdict_text(const FigureComparison& figure) {
  switch (figure.verdict) {
    case Verdict::no_difference:
      return "no difference beyond the spread";
    case Verdict::too_few_rounds:
      return "too few rounds to tell";
    case Verdict::one_value:
      return "one value each, not judged";
    case Verdict::smaller:
    case Verdict::larger:
      break;
  }
  const bool larger = figure.verdict == Verdict::larger;
  switch (figure.kind) {
    case FigureKind::milliseconds:
    case FigureKind::microseconds:
      return larger ? "slower" : "faster";
    case FigureKind::rate:
      return larger ? "faster" : "slower";
    case FigureKind::ratio:
    case FigureKind::bytes:
      break;
  }
  return larger ? "larger" : "smaller";
}

std::string comparison_rule() {
  return "A figure is told faster or slower where the Mann-Whitney U test of the rounds' medians "
         "finds a difference, adjusted for the number of figures: of those told so at most 5 % are "
         "false (Benjamini and Hochberg). The ratio is Hodges and Lehmann's, with the interval of "
         "the same test. "
         "What the machine did between the two runs counts as a difference, too: measure both by "
         "turns before a claim.";
}

}  // namespace kvcache::report
