// kvcache bench --mode sequence: one sequence at a time, prefill and decoding at several depths,
// and whether that is what this machine can do.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bench_mode.hpp"
#include "exit_status.hpp"
#include "report/environment.hpp"
#include "report/format.hpp"
#include "report/read_bandwidth.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kDefaultPrompt = 512;
constexpr std::size_t kDefaultTokens = 64;
constexpr std::size_t kDefaultDepths[] = {8, 512};

/// The options with nothing left to default.
struct Plan {
  std::size_t prompt = 0;           // tokens of the prefill
  std::size_t tokens = 0;           // decoded in each round, at each depth
  std::vector<std::size_t> depths;  // tokens cached before decoding begins
};

/// What was not given is as large as the model permits, up to the default.
Plan plan_of(const BenchOptions& options, const Model& model) {
  const std::size_t positions = model.info().max_seq_len;
  Plan plan;
  plan.prompt = options.prompt.value_or(std::min(kDefaultPrompt, positions));
  check_positions(fmt::format("the tokens of --prompt {}", plan.prompt), plan.prompt, model);
  plan.tokens = options.tokens.value_or(std::min(kDefaultTokens, positions / 2));
  plan.depths = options.depths;
  if (plan.depths.empty()) {
    std::ranges::copy_if(kDefaultDepths, std::back_inserter(plan.depths),
                         [&](std::size_t depth) { return depth + plan.tokens <= positions; });
  }
  if (plan.depths.empty() || plan.tokens > positions) {
    throw UsageError(
        fmt::format("--tokens {}: the model has {} positions, give a --depth that leaves room",
                    plan.tokens, positions));
  }
  for (const std::size_t depth : plan.depths) {
    check_positions(fmt::format("--depth {} and {} tokens", depth, plan.tokens),
                    depth + plan.tokens, model);
  }
  return plan;
}

/// Decoding at one depth: each sample is one token, model call and argmax.
struct DecodeTimes {
  std::size_t depth = 0;
  std::vector<double> samples_ms;  // of all rounds, one after the other
  double bytes_per_token = 0;      // weights, and the cache at the mean depth of the samples
};

struct Result {
  std::vector<double> prefill_ms;  // each up to the first token, logits of the last one only
  std::vector<DecodeTimes> decode;
  report::BandwidthResult bandwidth;    // sampled between those measurements
  bool repeatable = true;               // every round chose the same tokens
  std::size_t peak_resident_bytes = 0;  // before the bandwidth's arrays were there
  std::size_t cache_bytes = 0;          // the cache's peak
};

double prefill(const Model& model, std::span<const TokenId> prompt) {
  Sequence sequence = model.new_sequence();
  return time_of([&] { static_cast<void>(sequence.extend(prompt).argmax()); });
}

/// A prompt and what was decoded after it.
struct Decoded {
  std::vector<TokenId> sequence;                     // prompt, then each choice
  std::vector<double> latencies_ms;                  // of each token fed after the prompt
  std::map<std::size_t, std::vector<float>> logits;  // after so many tokens, where kept
};

/// Feeds `tokens` tokens after a prompt of `depth`. Keeps the logits after the given lengths.
Decoded decode(const Model& model, std::size_t depth, std::size_t tokens,
               std::span<const std::size_t> kept_lengths = {}) {
  Decoded result{.sequence = prompt_of(depth, model), .latencies_ms = {}, .logits = {}};
  const auto keep = [&](const Logits& logits) {
    const std::size_t length = result.sequence.size();
    if (std::ranges::find(kept_lengths, length) != kept_lengths.end()) {
      result.logits[length].assign(logits.last().begin(), logits.last().end());
    }
  };
  Sequence sequence = model.new_sequence();
  Logits logits = sequence.extend(result.sequence);
  keep(logits);
  result.sequence.push_back(logits.argmax());
  for (std::size_t i = 0; i < tokens; ++i) {
    TokenId next = 0;
    result.latencies_ms.push_back(time_of([&] {
      logits = sequence.extend({&result.sequence.back(), 1});
      next = logits.argmax();
    }));
    keep(logits);
    result.sequence.push_back(next);
  }
  return result;
}

/// Decodes once and compares its beginning, middle and end with a model that knows no cache.
Decoded decode_and_compare(const Model& model, std::size_t depth, std::size_t tokens,
                           report::Agreement& agreement) {
  const std::vector<std::size_t> lengths{depth, depth + tokens / 2, depth + tokens};
  Decoded decoded = decode(model, depth, tokens, lengths);
  for (const auto& [length, logits] : decoded.logits) {
    throw_if_interrupted();
    const Logits reference = model.forward_without_cache(std::span(decoded.sequence).first(length));
    agreement.compare_token(decoded.sequence[length], reference.last());
    agreement.compare_logits(logits, reference.last());
  }
  return decoded;
}

/// Weights, and keys and values of as many tokens as are cached halfway through the samples.
double bytes_per_token(const ModelInfo& info, std::size_t depth, std::size_t tokens) {
  const double mean_depth = static_cast<double>(depth) + static_cast<double>(tokens - 1) / 2;
  return static_cast<double>(info.weight_bytes_per_token) +
         mean_depth * static_cast<double>(info.cache_bytes_per_token());
}

/// Measures after one round that warms up and checks agreement.
Result measure(const Model& model, const Plan& plan, const BenchOptions& options,
               report::Agreement& agreement) {
  Result result;
  const std::vector<TokenId> prompt = prompt_of(plan.prompt, model);

  options.progress("warming up, comparing with forward_without_cache");
  prefill(model, prompt);
  std::vector<std::vector<TokenId>> expected;
  for (const std::size_t depth : plan.depths) {
    expected.push_back(decode_and_compare(model, depth, plan.tokens, agreement).sequence);
    result.decode.push_back({depth, {}, bytes_per_token(model.info(), depth, plan.tokens)});
  }
  result.peak_resident_bytes = report::peak_resident_bytes();
  result.cache_bytes = model.cache_stats().bytes_peak;

  report::ReadBandwidth bandwidth(model.num_threads(), options.bandwidth_bytes);
  bandwidth.sample();
  for (std::size_t round = 0; round < options.repeat; ++round) {
    options.progress(fmt::format("round {} of {}", round + 1, options.repeat));
    result.prefill_ms.push_back(prefill(model, prompt));
    for (std::size_t i = 0; i < plan.depths.size(); ++i) {
      const Decoded decoded = decode(model, plan.depths[i], plan.tokens);
      result.repeatable = result.repeatable && decoded.sequence == expected[i];
      auto& samples = result.decode[i].samples_ms;
      samples.insert(samples.end(), decoded.latencies_ms.begin(), decoded.latencies_ms.end());
      bandwidth.sample();
    }
  }
  result.bandwidth = bandwidth.result();
  return result;
}

/// What the measurements say about the machine.
struct Figures {
  const ModelInfo& info;
  const Result& result;

  /// The time that reading the bytes takes at the bandwidth measured in the same run.
  [[nodiscard]] double floor_ms(double bytes) const {
    return bytes / result.bandwidth.bytes_per_second * 1e3;
  }
  /// Measured time ÷ the time of reading the weights alone.
  [[nodiscard]] double weights_ratio(const DecodeTimes& decode) const {
    return report::median(decode.samples_ms) /
           floor_ms(static_cast<double>(info.weight_bytes_per_token));
  }
  /// The share of the read bandwidth that decoding reached, weights and cache counted.
  [[nodiscard]] double bandwidth_share(const DecodeTimes& decode) const {
    return floor_ms(decode.bytes_per_token) / report::median(decode.samples_ms);
  }
  /// Peak memory ÷ (model files + cache).
  [[nodiscard]] double memory_ratio() const {
    return static_cast<double>(result.peak_resident_bytes) /
           static_cast<double>(info.model_bytes + result.cache_bytes);
  }
};

report::Json to_json(const Plan& plan, const Figures& figures) {
  const Result& result = figures.result;
  report::Json prefill = report::times_to_json(result.prefill_ms);
  prefill["tokens"] = plan.prompt;
  report::Json decode = report::Json::array();
  for (const DecodeTimes& times : result.decode) {
    report::Json entry = report::times_to_json(times.samples_ms);
    entry["depth"] = times.depth;
    entry["tokens_per_round"] = plan.tokens;
    entry["bytes_per_token"] = times.bytes_per_token;
    entry["bandwidth_share"] = figures.bandwidth_share(times);
    entry["weights_ratio"] = figures.weights_ratio(times);
    decode.push_back(entry);
  }
  return {{"peak_resident_bytes", result.peak_resident_bytes},
          {"cache_bytes", result.cache_bytes},
          {"memory_ratio", figures.memory_ratio()},
          {"read_bandwidth", report::to_json(result.bandwidth)},
          {"prefill", prefill},
          {"decode", decode}};
}

std::string bandwidth_table(const report::BandwidthResult& bandwidth) {
  report::Table table({"Read as", "Median", "Best"});
  for (const report::ShapeBandwidth& shape : bandwidth.shapes) {
    const report::Summary summary = report::summarize(shape.samples);
    table.add_row({shape.shape, report::format_bandwidth(summary.median),
                   report::format_bandwidth(summary.max)});
  }
  return table.to_string();
}

std::vector<std::string> row_of(const std::string& name, std::size_t tokens,
                                const std::vector<double>& samples_ms) {
  const report::Summary summary = report::summarize(samples_ms);
  return {name, fmt::format("{}", summary.count), fmt::format("{:.2f}", summary.median),
          fmt::format("{:.2f}", summary.p90),
          fmt::format("{:.1f}", static_cast<double>(tokens) * 1e3 / summary.median)};
}

std::string to_text(const Plan& plan, const Figures& figures) {
  const Result& result = figures.result;
  const report::BandwidthResult& bandwidth = result.bandwidth;
  report::Table table(
      {"Phase", "Samples", "Median ms", "p90 ms", "Tokens/s", "Of bandwidth", "Over weights"});
  auto prefill = row_of(fmt::format("prefill of {}", plan.prompt), plan.prompt, result.prefill_ms);
  prefill.insert(prefill.end(), {"", ""});
  table.add_row(prefill);
  for (const DecodeTimes& times : result.decode) {
    auto row = row_of(fmt::format("decode at depth {}", times.depth), 1, times.samples_ms);
    row.push_back(fmt::format("{:.0f}%", 100 * figures.bandwidth_share(times)));
    row.push_back(fmt::format("{:.2f}x", figures.weights_ratio(times)));
    table.add_row(row);
  }
  return fmt::format(
      "Memory     {} at its peak, {:.2f} x (model + {} of cache)\n"
      "Bandwidth  {} read with {} thread{} ({})\n\n{}\n{}",
      report::format_bytes(result.peak_resident_bytes), figures.memory_ratio(),
      report::format_bytes(result.cache_bytes),
      report::format_bandwidth(bandwidth.bytes_per_second), bandwidth.threads,
      bandwidth.threads == 1 ? "" : "s", bandwidth.shapes.at(bandwidth.best).shape,
      table.to_string(), bandwidth_table(bandwidth));
}

}  // namespace

BenchReport bench_sequence(const Model& model, const BenchOptions& options) {
  const Plan plan = plan_of(options, model);
  BenchReport report;
  report.agreement = new_agreement(model);
  const Result result = measure(model, plan, options, report.agreement);
  if (!result.repeatable) {
    report.broken.emplace_back("rounds chose different tokens");
  }
  const Figures figures{model.info(), result};
  report.json = to_json(plan, figures);
  report.text = to_text(plan, figures);
  return report;
}

}  // namespace kvcache::cli
