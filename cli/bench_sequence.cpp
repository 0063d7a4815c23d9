// kvcache bench --mode sequence: one sequence at a time, prefill and decoding at several depths,
// and whether that is what this machine can do.

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench_mode.hpp"
#include "program/exit_status.hpp"
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
constexpr std::size_t kGroup = 8;  // tokens decoded between two samples of the bandwidth

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

/// Tokens decoded one after the other, and the samples of the bandwidth before and after them.
struct Group {
  std::vector<double> samples_ms;
  double mean_depth = 0;
  std::size_t bandwidth_before = 0;  // the number of the sample; the next one is after them
};

/// Decoding at one depth: each sample is one token, model call and argmax.
struct DecodeTimes {
  std::size_t depth = 0;
  std::vector<Group> groups;  // of all rounds

  [[nodiscard]] std::vector<double> samples_ms() const {
    std::vector<double> samples;
    for (const Group& group : groups) {
      samples.insert(samples.end(), group.samples_ms.begin(), group.samples_ms.end());
    }
    return samples;
  }
};

struct Result {
  std::vector<double> prefill_ms;  // each up to the first token, logits of the last one only
  std::vector<DecodeTimes> decode;
  /// Sampled between groups; of the memory that the CPU reads, so nothing where a GPU decodes.
  std::optional<report::BandwidthResult> bandwidth;
  bool repeatable = true;               // every round chose the same tokens
  std::size_t peak_resident_bytes = 0;  // before the bandwidth's array was there
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

/// Feeds `tokens` tokens after a prompt of `depth`, and calls `before_group` before every kGroup of
/// them. Keeps the logits after the given lengths.
Decoded decode(const Model& model, std::size_t depth, std::size_t tokens,
               const std::function<void()>& before_group,
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
    if (i % kGroup == 0) {
      before_group();
    }
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
  Decoded decoded = decode(
      model, depth, tokens, [] {}, lengths);
  for (const auto& [length, logits] : decoded.logits) {
    throw_if_interrupted();
    const Logits reference = model.forward_without_cache(std::span(decoded.sequence).first(length));
    agreement.compare_token(decoded.sequence[length], reference.last());
    agreement.compare_logits(logits, reference.last());
  }
  return decoded;
}

/// Weights, and keys and values of that many tokens.
double bytes_per_token(const ModelInfo& info, double depth) {
  return static_cast<double>(info.weight_bytes_per_token) +
         depth * static_cast<double>(info.cache_bytes_per_token());
}

double mean_depth(std::size_t first, std::size_t tokens) {
  return static_cast<double>(first) + static_cast<double>(tokens - 1) / 2;
}

/// Decodes once more, in groups between samples of the bandwidth. Returns the tokens.
std::vector<TokenId> decode_in_groups(const Model& model, std::size_t tokens,
                                      std::optional<report::ReadBandwidth>& bandwidth,
                                      DecodeTimes& times) {
  const std::size_t first = bandwidth ? bandwidth->samples() : 0;
  const auto sample = [&] {
    if (bandwidth) {
      bandwidth->sample();
    }
  };
  const Decoded decoded = decode(model, times.depth, tokens, sample);
  sample();
  for (std::size_t begin = 0; begin < tokens; begin += kGroup) {
    const std::size_t count = std::min(kGroup, tokens - begin);
    const auto from = decoded.latencies_ms.begin() + static_cast<std::ptrdiff_t>(begin);
    times.groups.push_back({{from, from + static_cast<std::ptrdiff_t>(count)},
                            mean_depth(times.depth + begin, count),
                            first + begin / kGroup});
  }
  return decoded.sequence;
}

/// Tokens after which a device goes its way for good: a GPU may run a step as one kernel, which
/// rounds less, from the third run of each of two workspaces on. What is compared is what is
/// measured.
constexpr std::size_t kTokensBeforeComparison = 8;

/// Measures after one round that warms up and checks agreement.
Result measure(const Model& model, const Plan& plan, const BenchOptions& options,
               report::Agreement& agreement) {
  Result result;
  const std::vector<TokenId> prompt = prompt_of(plan.prompt, model);

  options.progress({"warming up, comparing with forward_without_cache"});
  prefill(model, prompt);
  decode(model, plan.depths.front(), kTokensBeforeComparison, [] {});
  std::vector<std::vector<TokenId>> expected;
  for (const std::size_t depth : plan.depths) {
    expected.push_back(decode_and_compare(model, depth, plan.tokens, agreement).sequence);
    result.decode.push_back({depth, {}});
  }
  result.peak_resident_bytes = report::peak_resident_bytes();
  result.cache_bytes = model.cache_stats().bytes_peak;

  std::optional<report::ReadBandwidth> bandwidth;
  if (model.device() == Device::cpu) {
    bandwidth.emplace(model.num_threads(), model.info().weight_bytes_per_token);
  }
  for (std::size_t round = 0; round < options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round + 1, options.repeat), round, options.repeat});
    result.prefill_ms.push_back(prefill(model, prompt));
    for (std::size_t i = 0; i < plan.depths.size(); ++i) {
      const auto sequence = decode_in_groups(model, plan.tokens, bandwidth, result.decode[i]);
      result.repeatable = result.repeatable && sequence == expected[i];
    }
  }
  if (bandwidth) {
    result.bandwidth = bandwidth->result();
  }
  return result;
}

/// What the measurements say about the machine.
struct Figures {
  const ModelInfo& info;
  const Result& result;

  /// Each group's time ÷ the time of reading the weights alone, just before and after it.
  [[nodiscard]] std::vector<double> weights_ratios(const DecodeTimes& decode) const {
    std::vector<double> ratios;
    for (const Group& group : decode.groups) {
      ratios.push_back(report::median(group.samples_ms) /
                       floor_ms(static_cast<double>(info.weight_bytes_per_token), group));
    }
    return ratios;
  }
  /// The share that each group reached of the read bandwidth just before and after it, weights and
  /// cache counted.
  [[nodiscard]] std::vector<double> bandwidth_shares(const DecodeTimes& decode) const {
    std::vector<double> shares;
    for (const Group& group : decode.groups) {
      shares.push_back(floor_ms(bytes_per_token(info, group.mean_depth), group) /
                       report::median(group.samples_ms));
    }
    return shares;
  }
  /// Peak memory ÷ (model files + cache).
  [[nodiscard]] double memory_ratio() const {
    return static_cast<double>(result.peak_resident_bytes) /
           static_cast<double>(info.model_bytes + result.cache_bytes);
  }

 private:
  [[nodiscard]] double floor_ms(double bytes, const Group& group) const {
    return bytes / result.bandwidth.value().around(group.bandwidth_before) * 1e3;
  }
};

/// Median and the middle four fifths.
report::Json spread_to_json(const std::vector<double>& values) {
  return {{"p10", report::quantile(values, 0.1)},
          {"median", report::median(values)},
          {"p90", report::quantile(values, 0.9)},
          {"samples", values}};
}

report::Json to_json(const Plan& plan, const Figures& figures) {
  const Result& result = figures.result;
  report::Json prefill = report::times_to_json(result.prefill_ms);
  prefill["tokens"] = plan.prompt;
  report::Json decode = report::Json::array();
  for (const DecodeTimes& times : result.decode) {
    report::Json entry = report::times_to_json(times.samples_ms());
    entry["depth"] = times.depth;
    entry["tokens_per_round"] = plan.tokens;
    entry["bytes_per_token"] = bytes_per_token(figures.info, mean_depth(times.depth, plan.tokens));
    if (result.bandwidth) {
      entry["bandwidth_share"] = spread_to_json(figures.bandwidth_shares(times));
      entry["weights_ratio"] = spread_to_json(figures.weights_ratios(times));
    }
    decode.push_back(entry);
  }
  report::Json json{{"peak_resident_bytes", result.peak_resident_bytes},
                    {"cache_bytes", result.cache_bytes},
                    {"memory_ratio", figures.memory_ratio()},
                    {"prefill", prefill},
                    {"decode", decode}};
  if (result.bandwidth) {
    json["read_bandwidth"] = report::to_json(*result.bandwidth);
  }
  return json;
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
  std::vector<std::string> header{"Phase", "Samples", "Median ms", "p90 ms", "Tokens/s"};
  auto prefill = row_of(fmt::format("prefill of {}", plan.prompt), plan.prompt, result.prefill_ms);
  if (result.bandwidth) {
    header.insert(header.end(), {"Of bandwidth (p10 … p90)", "Over weights"});
    prefill.insert(prefill.end(), {"", ""});
  }
  report::Table table(header);
  table.add_row(prefill);
  for (const DecodeTimes& times : result.decode) {
    auto row = row_of(fmt::format("decode at depth {}", times.depth), 1, times.samples_ms());
    if (result.bandwidth) {
      const std::vector<double> shares = figures.bandwidth_shares(times);
      row.push_back(fmt::format("{:.0f}% ({:.0f} … {:.0f})", 100 * report::median(shares),
                                100 * report::quantile(shares, 0.1),
                                100 * report::quantile(shares, 0.9)));
      row.push_back(fmt::format("{:.2f}x", report::median(figures.weights_ratios(times))));
    }
    table.add_row(row);
  }
  const std::string memory =
      fmt::format("Memory     {} at its peak, {:.2f} x (model + {} of cache)\n",
                  report::format_bytes(result.peak_resident_bytes), figures.memory_ratio(),
                  report::format_bytes(result.cache_bytes));
  if (!result.bandwidth) {
    return fmt::format("{}\n{}", memory, table.to_string());
  }
  const report::BandwidthResult& bandwidth = *result.bandwidth;
  return fmt::format("{}Bandwidth  {} read with {} thread{} ({})\n\n{}\n{}", memory,
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
