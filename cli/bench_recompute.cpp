// kvcache bench --mode recompute: making N tokens with the cache, and by evaluating the whole text
// for each of them.

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bench_mode.hpp"
#include "program/exit_status.hpp"
#include "report/scenario_comparison.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kDefaultNewTokens = 256;
constexpr std::size_t kParts = 16;  // of the length, whose ends are measured without a cache
constexpr TokenId kFirstToken = 1;

/// The lengths whose forward is measured: powers of two, ends of equal parts, the last.
std::set<std::size_t> measured_lengths(std::size_t tokens) {
  std::set<std::size_t> lengths{tokens};
  for (std::size_t length = 1; length < tokens; length *= 2) {
    lengths.insert(length);
  }
  const std::size_t part = std::max<std::size_t>(1, tokens / kParts);
  for (std::size_t length = part; length < tokens; length += part) {
    lengths.insert(length);
  }
  return lengths;
}

/// A text made with the cache: its tokens, the first one first, and what each new one took.
struct MadeText {
  std::vector<TokenId> tokens{kFirstToken};
  std::vector<double> ms;
};

MadeText make_text(const Model& model, std::size_t tokens, const std::set<std::size_t>& compared,
                   report::Agreement* agreement) {
  MadeText text;
  Sequence sequence = model.new_sequence();
  while (text.ms.size() < tokens) {
    TokenId next = 0;
    Logits logits = [&] {
      std::optional<Logits> result;
      text.ms.push_back(time_of([&] {
        result = sequence.extend({&text.tokens.back(), 1});
        next = result->argmax();
      }));
      return std::move(*result);
    }();
    if (agreement != nullptr && compared.contains(sequence.length())) {
      compare_with_uncached(model, sequence.tokens(), logits.last(), *agreement);
    }
    text.tokens.push_back(next);
  }
  return text;
}

/// What a forward of each length 1 … tokens takes: straight lines between those measured.
std::vector<double> forwards_ms(const Model& model, const MadeText& text,
                                const std::set<std::size_t>& lengths) {
  std::map<std::size_t, double> measured;
  for (const std::size_t length : lengths) {
    measured[length] = time_of([&] {
      static_cast<void>(model.forward_without_cache(std::span(text.tokens).first(length)).argmax());
    });
  }
  std::vector<double> all;
  for (std::size_t length = 1; length <= text.ms.size(); ++length) {
    const auto above = measured.lower_bound(length);
    const auto below = above->first == length ? above : std::prev(above);
    const double share = above == below ? 0
                                        : static_cast<double>(length - below->first) /
                                              static_cast<double>(above->first - below->first);
    all.push_back(below->second + share * (above->second - below->second));
  }
  return all;
}

double sum_of_first(const std::vector<double>& values, std::size_t count) {
  return std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count), 0.0);
}

/// The first `tokens` tokens, of each round.
struct LengthTimes {
  std::size_t tokens;
  std::vector<double> with_cache = {};
  std::vector<double> without_cache = {};
};

}  // namespace

BenchReport bench_recompute(const Model& model, const BenchOptions& options) {
  const std::size_t positions = model.info().max_seq_len;
  const std::size_t tokens = options.tokens.value_or(std::min(kDefaultNewTokens, positions));
  check_positions(fmt::format("the tokens of --tokens {}", tokens), tokens, model);
  const std::set<std::size_t> lengths = measured_lengths(tokens);
  BenchReport report;
  report.agreement = new_agreement(model);
  std::vector<LengthTimes> curve;
  for (const std::size_t point : report::curve_points(tokens)) {
    curve.push_back({point});
  }

  options.progress({"comparing with forward_without_cache"});
  const MadeText first = make_text(model, tokens, lengths, &report.agreement);
  forwards_ms(model, first, lengths);  // the first run of a length also takes its memory
  for (std::size_t round = 0; round < options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round + 1, options.repeat), round, options.repeat});
    const MadeText text = make_text(model, tokens, {}, nullptr);
    if (text.tokens != first.tokens) {
      report.broken.emplace_back("rounds chose different tokens");
      return report;
    }
    const std::vector<double> forwards = forwards_ms(model, text, lengths);
    for (LengthTimes& point : curve) {
      point.with_cache.push_back(sum_of_first(text.ms, point.tokens));
      point.without_cache.push_back(sum_of_first(forwards, point.tokens));
    }
  }

  report.json = {
      {"tokens", tokens}, {"lengths_measured", lengths.size()}, {"curve", report::Json::array()}};
  report::Table table({"New tokens", "With cache ms", "Without ms", "Speedup"});
  for (const LengthTimes& point : curve) {
    const std::vector<double> speedup = ratios(point.without_cache, point.with_cache);
    report.json["curve"].push_back({{"tokens", point.tokens},
                                    {"with_cache", report::times_to_json(point.with_cache)},
                                    {"without_cache", report::times_to_json(point.without_cache)},
                                    {"speedup", ratio_to_json(speedup)}});
    table.add_row(
        {std::to_string(point.tokens), fmt::format("{:.1f}", report::median(point.with_cache)),
         fmt::format("{:.1f}", report::median(point.without_cache)), format_ratio(speedup)});
  }
  report.text = fmt::format("{}\nWithout a cache, {} of {} lengths were measured\n",
                            table.to_string(), lengths.size(), tokens);
  return report;
}

}  // namespace kvcache::cli
