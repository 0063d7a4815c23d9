#include "report/bench_figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "report/statistics.hpp"

namespace kvcache::report {
namespace {

constexpr double kLargestFigure = 1e300;
constexpr double kSmallestFigure = 1e-300;  // ratios are made of them
constexpr std::size_t kMostOfAnything = std::size_t{1} << 31U;

/// Collects figures of a measurement.
class Figures {
 public:
  explicit Figures(const JsonValue& bench)
      : rounds_(bench.field("rounds").size(1, kMostOfAnything)) {}

  /// Of samples: each round's median, where all rounds have as many; else the median of all.
  void add_samples(std::string name, FigureKind kind, const JsonValue& object,
                   std::string_view field) {
    const JsonValue values = object.field(field);
    std::vector<double> samples;
    for (const JsonValue& value : values.elements()) {
      samples.push_back(value.number(kSmallestFigure, kLargestFigure));
    }
    if (samples.empty()) {
      values.refuse("must hold at least one sample");
    }
    BenchFigure figure{std::move(name), kind};
    const std::size_t parts = samples.size() % rounds_ == 0 ? rounds_ : 1;
    const std::size_t each = samples.size() / parts;
    for (std::size_t part = 0; part < parts; ++part) {
      const auto begin = samples.begin() + static_cast<std::ptrdiff_t>(part * each);
      figure.rounds.push_back(
          median(std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(each))));
    }
    figures_.push_back(std::move(figure));
  }

  void add_times(std::string name, const JsonValue& times) {
    add_samples(std::move(name), FigureKind::milliseconds, times, "samples_ms");
  }

  void add_one(std::string name, FigureKind kind, const JsonValue& object, std::string_view field) {
    figures_.push_back(
        {std::move(name), kind, {object.field(field).number(kSmallestFigure, kLargestFigure)}});
  }

  [[nodiscard]] std::vector<BenchFigure> take() { return std::move(figures_); }

 private:
  std::size_t rounds_;
  std::vector<BenchFigure> figures_;
};

std::size_t count_of(const JsonValue& object, std::string_view field) {
  return object.field(field).size(0, kMostOfAnything);
}

void add_sequence(const JsonValue& bench, Figures& figures) {
  const JsonValue prefill = bench.field("prefill");
  figures.add_times(fmt::format("prefill of {} tokens", count_of(prefill, "tokens")), prefill);
  for (const JsonValue& decode : bench.field("decode").elements()) {
    const std::size_t depth = count_of(decode, "depth");
    figures.add_times(fmt::format("a token at depth {}", depth), decode);
    if (decode.has("weights_ratio")) {
      figures.add_samples(fmt::format("at depth {} over reading the weights", depth),
                          FigureKind::ratio, decode.field("weights_ratio"), "samples");
    }
  }
  if (bench.has("peak_resident_bytes")) {
    figures.add_one("memory at the peak", FigureKind::bytes, bench, "peak_resident_bytes");
  }
}

void add_recompute(const JsonValue& bench, Figures& figures) {
  for (const JsonValue& point : bench.field("curve").elements()) {
    const std::size_t tokens = count_of(point, "tokens");
    figures.add_times(fmt::format("{} tokens with the cache", tokens), point.field("with_cache"));
    figures.add_times(fmt::format("{} tokens without", tokens), point.field("without_cache"));
    figures.add_samples(fmt::format("speedup over {} tokens", tokens), FigureKind::ratio,
                        point.field("speedup"), "samples");
  }
}

void add_fork(const JsonValue& bench, Figures& figures) {
  const std::string name = fmt::format("a fork of {} tokens", count_of(bench, "prompt"));
  const JsonValue fork = bench.field("fork_us");
  if (fork.has("samples")) {
    figures.add_samples(name, FigureKind::microseconds, fork, "samples");
  } else {
    figures.add_one(name, FigureKind::microseconds, fork, "median");
  }
}

void add_tree_point(const JsonValue& point, Figures& figures) {
  const std::string what =
      fmt::format("{} of {} after {}", count_of(point, "siblings"),
                  point.has("depth") ? count_of(point, "depth") : 1, count_of(point, "prefix"));
  figures.add_times(what + " as a tree", point.field("tree"));
  figures.add_times(what + " by forks", point.field("forks"));
  figures.add_samples(what + ", forks over tree", FigureKind::ratio, point.field("over_forks"),
                      "samples");
}

void add_tree(const JsonValue& bench, Figures& figures) {
  if (!bench.has("curve")) {
    add_tree_point(bench, figures);
    return;
  }
  for (const JsonValue& point : bench.field("curve").elements()) {
    add_tree_point(point, figures);
  }
}

void add_batch(const JsonValue& bench, Figures& figures) {
  const std::size_t depth = count_of(bench, "depth");
  for (const JsonValue& way : bench.field("ways").elements()) {
    figures.add_samples(
        fmt::format("tokens a second, {} at depth {}", way.field("name").text(), depth),
        FigureKind::rate, way.field("tokens_per_second"), "samples");
  }
}

void add_search(const JsonValue& bench, Figures& figures) {
  const std::size_t nodes = count_of(bench, "nodes");
  for (const JsonValue& way : bench.field("ways").elements()) {
    figures.add_samples(fmt::format("nodes a second, {} games of {}, {} callers",
                                    count_of(way, "games"), nodes, count_of(way, "callers")),
                        FigureKind::rate, way.field("nodes_per_second"), "samples");
  }
}

void add_evaluator(const JsonValue& bench, Figures& figures) {
  const std::size_t depth = count_of(bench, "depth");
  for (const JsonValue& crowd : bench.field("crowds").elements()) {
    figures.add_samples(
        fmt::format("requests a second, {} clients at depth {}", count_of(crowd, "clients"), depth),
        FigureKind::rate, crowd.field("requests_per_second"), "samples");
  }
  figures.add_one("a direct call", FigureKind::microseconds, bench, "direct_call_us");
}

void add_window(const JsonValue& bench, Figures& figures) {
  const JsonValue window = bench.field("window");
  figures.add_one(fmt::format("a token, slides included, window {} + {}", count_of(window, "size"),
                              count_of(window, "stride")),
                  FigureKind::milliseconds, bench, "amortised_ms_per_token");
  figures.add_one("cache at its peak", FigureKind::bytes, bench, "cache_bytes_peak");
}

void add_start(const JsonValue& bench, Figures& figures) {
  for (const JsonValue& entry : bench.field("start").elements()) {
    for (const int token : {1, 16, 64}) {
      const std::string field = fmt::format("token_{}", token);
      if (entry.has(field)) {
        figures.add_times(fmt::format("to token {}, {}, {}", token, entry.field("files").text(),
                                      entry.field("weights").text()),
                          entry.field(field));
      }
    }
  }
}

void add_save(const JsonValue& bench, Figures& figures) {
  for (const char* what : {"compute", "save", "load"}) {
    figures.add_times(fmt::format("{} {} tokens", what, count_of(bench, "prompt")),
                      bench.field(what));
  }
}

struct ModeFigures {
  std::string_view mode;
  void (*add)(const JsonValue& bench, Figures& figures);
};

constexpr ModeFigures kModeFigures[] = {{"sequence", add_sequence},   {"recompute", add_recompute},
                                        {"fork", add_fork},           {"tree", add_tree},
                                        {"batch", add_batch},         {"search", add_search},
                                        {"evaluator", add_evaluator}, {"window", add_window},
                                        {"start", add_start},         {"save", add_save}};

}  // namespace

std::vector<BenchFigure> bench_figures(const JsonValue& bench) {
  const JsonValue mode = bench.field("mode");
  const auto* const found = std::ranges::find(kModeFigures, mode.text(), &ModeFigures::mode);
  if (found == std::end(kModeFigures)) {
    mode.refuse("must be a mode of this version's kvcache bench");
  }
  Figures figures(bench);
  found->add(bench, figures);
  return figures.take();
}

}  // namespace kvcache::report
