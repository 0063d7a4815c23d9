// Mode sequence: latency by token and depth, memory, and the fraction of the roofline.

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <vector>

#include "report/html/bar_chart.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_parts.hpp"
#include "report/html/line_chart.hpp"
#include "report/html/table.hpp"
#include "report/statistics.hpp"

namespace kvcache::report::html {
namespace {

constexpr std::size_t kMostTokens = std::size_t{1} << 31U;

std::string depth_name(const JsonValue& decode) {
  return fmt::format("depth {}", decode.field("depth").size(0, kMostTokens));
}

/// Of each token of a round, over the rounds: where its time goes with the tokens before it.
std::vector<Point> points_by_token(const JsonValue& decode) {
  const std::vector<double> samples = samples_of(decode, "samples_ms");
  const std::size_t tokens = decode.field("tokens_per_round").size(1, samples.size());
  std::vector<Point> points;
  for (std::size_t token = 0; token < tokens; ++token) {
    std::vector<double> rounds;
    for (std::size_t at = token; at < samples.size(); at += tokens) {
      rounds.push_back(samples[at]);
    }
    points.push_back({static_cast<double>(token + 1),
                      derived_figure(median(rounds), Unit::milliseconds,
                                     fmt::format("the rounds' median of token {}", token + 1)),
                      Spread{quantile(rounds, 0), quantile(rounds, 1)}});
  }
  return points;
}

Figure tokens_per_second(const JsonValue& times, double tokens) {
  return derived_figure(tokens * 1e3 / figure(times, "median_ms", Unit::milliseconds).value,
                        Unit::per_second, "tokens ÷ median");
}

Part latency_part(const JsonValue& bench) {
  LineChart by_token{.id = drawing_id(bench, "latency-by-token"),
                     .title = "Decoding, token by token",
                     .x_label = "token decoded after the prompt",
                     .x_scale = Scale::linear,
                     .y_label = "time of a token, the rounds' median",
                     .y_unit = Unit::milliseconds,
                     .spread = "the band is the least to the most of the rounds",
                     .series = {},
                     .references = {}};
  BarChart by_depth{.id = drawing_id(bench, "latency-by-depth"),
                    .title = "Decoding, by tokens cached before it",
                    .note = fmt::format("median time of a token; {}", kSpreadOfTimes),
                    .unit = Unit::milliseconds,
                    .bars = {},
                    .references = {}};
  FigureTable table("Prefill and decoding",
                    {"Phase", "Samples", "Median", "90th percentile", "Most", "Tokens"});
  const auto add_row = [&](const std::string& name, const JsonValue& times, double tokens) {
    table.add_row({text(name), show(figure(times, "count", Unit::count)),
                   show(figure(times, "median_ms", Unit::milliseconds)),
                   show(figure(times, "p90_ms", Unit::milliseconds)),
                   show(figure(times, "max_ms", Unit::milliseconds)),
                   show(tokens_per_second(times, tokens))});
  };
  const JsonValue prefill = bench.field("prefill");
  const std::size_t prompt = prefill.field("tokens").size(1, kMostTokens);
  add_row(fmt::format("prefill of {} tokens", prompt), prefill, static_cast<double>(prompt));
  std::vector<std::string> headers{"Token"};
  for (const JsonValue& decode : bench.field("decode").elements()) {
    const Measured measured = measured_times(decode);
    const std::string name = depth_name(decode);
    add_row(fmt::format("a token at {}", name), decode, 1);
    by_depth.bars.push_back({name, measured.median, measured.spread});
    by_token.series.push_back({name, points_by_token(decode)});
    headers.push_back(name);
  }
  FigureTable each("Each token: the rounds' median", headers);
  const std::size_t tokens = by_token.series.empty() ? 0 : by_token.series.front().points.size();
  for (std::size_t token = 0; token < tokens; ++token) {
    std::vector<Markup> row{text(std::to_string(token + 1))};
    for (const Series& series : by_token.series) {
      row.push_back(token < series.points.size() ? show(series.points[token].y) : Markup());
    }
    each.add_row(std::move(row));
  }
  return {Topic::latency, "One sequence",
          draw(by_depth) + table.to_markup() + draw(by_token) +
              folded("The figures of every token", each.to_markup())};
}

Part memory_part(const JsonValue& bench) {
  const JsonValue model = bench.field("model");
  const Figure files = figure(model, "model_bytes", Unit::bytes);
  const Figure cache = figure(bench, "cache_bytes", Unit::bytes);
  const Figure peak = figure(bench, "peak_resident_bytes", Unit::bytes);
  FigureTable table("Memory", {"What", "Bytes"});
  table.add_row({text("a token's keys and values"),
                 show(figure(model, "cache_bytes_per_token", Unit::bytes))});
  table.add_row({text("a sequence of full length"),
                 show(figure(model, "cache_bytes_per_sequence", Unit::bytes))});
  table.add_row({text("weights read for a token"),
                 show(figure(model, "weight_bytes_per_token", Unit::bytes))});
  table.add_row({text("the process's peak ÷ (model files + cache)"),
                 show(figure(bench, "memory_ratio", Unit::ratio))});
  return {Topic::memory, "One sequence",
          beside(draw(BarChart{.id = drawing_id(bench, "memory"),
                               .title = "Memory of the process",
                               .note = "at its peak, mapped files included",
                               .unit = Unit::bytes,
                               .bars = {{"model files", files, {}},
                                        {"keys and values", cache, {}},
                                        {"the process", peak, {}}},
                               .references = {}}),
                 table.to_markup())};
}

FigureTable bandwidth_table(const JsonValue& bandwidth) {
  FigureTable table("Memory read alone, all threads", {"Read as", "Median"});
  for (const auto& [name, shape] : bandwidth.field("shapes").fields()) {
    table.add_row({text(name), show(figure(shape, "median", Unit::bandwidth))});
  }
  return table;
}

Part roofline_part(const JsonValue& bench) {
  BarChart shares{.id = drawing_id(bench, "roofline"),
                  .title = "Fraction of the roofline",
                  .note =
                      "of the read bandwidth just before and after, weights and cache counted; "
                      "10th to 90th percentile",
                  .unit = Unit::share,
                  .bars = {},
                  .references = {{"the bandwidth", 1}}};
  FigureTable table("A token against reading its bytes alone",
                    {"Decoding", "Bytes", "Of the bandwidth", "Time ÷ the weights' alone"});
  for (const JsonValue& decode : bench.field("decode").elements()) {
    const std::string name = depth_name(decode);
    const JsonValue share = decode.field("bandwidth_share");
    shares.bars.push_back(
        {name, figure(share, "median", Unit::share),
         Spread{figure(share, "p10", Unit::share).value, figure(share, "p90", Unit::share).value}});
    table.add_row({text(name), show(figure(decode, "bytes_per_token", Unit::bytes)),
                   show(figure(share, "median", Unit::share)),
                   show(figure(decode.field("weights_ratio"), "median", Unit::ratio))});
  }
  const JsonValue bandwidth = bench.field("read_bandwidth");
  const Markup sentence = element(
      "p",
      text("A token reads every weight and its sequence's cache once, so it takes no less than "
           "reading those bytes. This machine read ") +
          show(figure(bandwidth, "bytes_per_second", Unit::bandwidth)) +
          text(fmt::format(" meanwhile ({}); above 100 % caches of the processor helped.",
                           bandwidth.field("shape").text())));
  return {
      Topic::roofline, "One sequence",
      sentence + beside(draw(shares), table.to_markup() + bandwidth_table(bandwidth).to_markup())};
}

}  // namespace

std::vector<Part> sequence_parts(const JsonValue& bench) {
  std::vector<Part> parts{latency_part(bench)};
  if (bench.has("peak_resident_bytes")) {
    parts.push_back(memory_part(bench));
  }
  if (bench.has("read_bandwidth")) {  // of a CPU
    parts.push_back(roofline_part(bench));
  }
  return parts;
}

}  // namespace kvcache::report::html
