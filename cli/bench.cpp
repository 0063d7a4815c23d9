// kvcache bench: how fast a model runs here, and whether that is what this machine can do.
//
// What is measured lies in files of its own (bench_sequence.hpp: one sequence at a time); this one
// reads the options and reports.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "atomic_file.hpp"
#include "bench_sequence.hpp"
#include "commands.hpp"
#include "exit_status.hpp"
#include "report/environment.hpp"
#include "report/format.hpp"
#include "report/json.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kDefaultPrompt = 512;
constexpr std::size_t kDefaultTokens = 64;
constexpr std::size_t kDefaultDepth = 8;
constexpr std::size_t kDefaultDeep = 512;

struct BenchArguments {
  ModelArguments model;
  std::optional<std::size_t> prompt;
  std::optional<std::size_t> tokens;
  std::vector<std::size_t> depths;
  std::size_t repeat = 5;
  std::size_t bandwidth_mib = 0;
  std::string json;

  [[nodiscard]] bool json_to_stdout() const { return json == "-"; }
};

/// A run with what was needed to make it.
struct BenchReport {
  report::Environment environment;
  ModelInfo info;
  std::string device;
  int threads = 0;
  double load_ms = 0;
  SequenceBenchOptions options;
  SequenceBenchResult result;

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

/// What was not given is as large as the model permits, up to the default.
SequenceBenchOptions bench_options(const BenchArguments& arguments, const ModelInfo& info) {
  const std::size_t positions = info.max_seq_len;
  SequenceBenchOptions options;
  options.prompt = arguments.prompt.value_or(std::min(kDefaultPrompt, positions));
  options.tokens = arguments.tokens.value_or(std::min(kDefaultTokens, positions / 2));
  options.depths = arguments.depths;
  if (options.depths.empty()) {
    for (const std::size_t depth : {kDefaultDepth, kDefaultDeep}) {
      if (depth + options.tokens <= positions) {
        options.depths.push_back(depth);
      }
    }
  }
  options.repeat = arguments.repeat;
  options.bandwidth_bytes = arguments.bandwidth_mib << 20U;
  options.progress = [verbose = arguments.model.verbose](const std::string& message) {
    if (verbose) {
      fmt::print(stderr, "{}\n", message);
    }
  };
  return options;
}

void check_fits(const SequenceBenchOptions& options, const ModelInfo& info) {
  if (options.prompt > info.max_seq_len) {
    throw UsageError(
        fmt::format("--prompt {}: the model has {} positions", options.prompt, info.max_seq_len));
  }
  if (options.depths.empty()) {
    throw UsageError(
        fmt::format("--tokens {}: the model has {} positions, give a --depth that "
                    "leaves room",
                    options.tokens, info.max_seq_len));
  }
  for (const std::size_t depth : options.depths) {
    if (depth > info.max_seq_len || options.tokens > info.max_seq_len - depth) {
      throw UsageError(
          fmt::format("--depth {} and {} tokens do not fit: the model has {} positions", depth,
                      options.tokens, info.max_seq_len));
    }
  }
}

BenchReport measure(const BenchArguments& arguments) {
  BenchReport report;
  report.environment = report::read_environment();
  const auto begin = std::chrono::steady_clock::now();
  const Model model = arguments.model.load();
  report.load_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  report.info = model.info();
  report.device = model.device_report();
  report.threads = model.num_threads();
  report.options = bench_options(arguments, model.info());
  check_fits(report.options, model.info());
  report.result = bench_sequence(model, report.options);
  return report;
}

report::Json to_json(const BenchReport& report) {
  const SequenceBenchResult& result = report.result;
  report::Json agreement = report::to_json(result.agreement);
  agreement["repeatable"] = result.repeatable;
  report::Json prefill = report::times_to_json(result.prefill_ms);
  prefill["tokens"] = report.options.prompt;
  report::Json decode = report::Json::array();
  for (const DecodeTimes& times : result.decode) {
    report::Json entry = report::times_to_json(times.samples_ms);
    entry["depth"] = times.depth;
    entry["tokens_per_round"] = report.options.tokens;
    entry["bytes_per_token"] = times.bytes_per_token;
    entry["bandwidth_share"] = report.bandwidth_share(times);
    entry["weights_ratio"] = report.weights_ratio(times);
    decode.push_back(entry);
  }
  return {{"format", "kvcache-bench"},
          {"format_version", 1},
          {"mode", "sequence"},
          {"environment", report::to_json(report.environment)},
          {"model", report::to_json(report.info)},
          {"device", report.device},
          {"threads", report.threads},
          {"rounds", report.options.repeat},
          {"load_ms", report.load_ms},
          {"peak_resident_bytes", result.peak_resident_bytes},
          {"cache_bytes", result.cache_bytes},
          {"memory_ratio", report.memory_ratio()},
          {"agreement", agreement},
          {"read_bandwidth", report::to_json(result.bandwidth)},
          {"prefill", prefill},
          {"decode", decode}};
}

void print_bandwidth_shapes(const report::BandwidthResult& bandwidth) {
  report::Table table({"Read as", "Median", "Best"});
  for (const report::ShapeBandwidth& shape : bandwidth.shapes) {
    const report::Summary summary = report::summarize(shape.samples);
    table.add_row({shape.shape, report::format_bandwidth(summary.median),
                   report::format_bandwidth(summary.max)});
  }
  fmt::print("\n{}", table.to_string());
}

std::vector<std::string> row_of(const std::string& name, std::size_t tokens,
                                const std::vector<double>& samples_ms) {
  const report::Summary summary = report::summarize(samples_ms);
  return {name, fmt::format("{}", summary.count), fmt::format("{:.2f}", summary.median),
          fmt::format("{:.2f}", summary.p90),
          fmt::format("{:.1f}", static_cast<double>(tokens) * 1e3 / summary.median)};
}

void print_human(const BenchReport& report, bool verbose) {
  const SequenceBenchResult& result = report.result;
  const report::BandwidthResult& bandwidth = result.bandwidth;
  fmt::print("Model      {}, {}, {}, {}\n", report.info.model_type, report.info.source,
             data_type_name(report.info.dtype), report::format_bytes(report.info.model_bytes));
  fmt::print("Device     {}\n", report.device);
  fmt::print("Versions   kvcache {}, {}; {}\n", report.environment.kvcache_version,
             report.environment.compiler, report.environment.date);
  fmt::print("Load       {:.0f} ms\n", report.load_ms);
  fmt::print("Memory     {} at its peak, {:.2f} x (model + {} of cache)\n",
             report::format_bytes(result.peak_resident_bytes), report.memory_ratio(),
             report::format_bytes(result.cache_bytes));
  fmt::print("Bandwidth  {} read with {} thread{} ({})\n",
             report::format_bandwidth(bandwidth.bytes_per_second), bandwidth.threads,
             bandwidth.threads == 1 ? "" : "s", bandwidth.shapes.at(bandwidth.best).shape);
  fmt::print("Agreement  {}{}\n\n", result.agreement.describe(),
             result.repeatable ? "" : "; ROUNDS CHOSE DIFFERENT TOKENS");
  if (!result.holds()) {
    fmt::print("No speeds: cached and uncached do not agree.\n");
    return;
  }

  report::Table table(
      {"Phase", "Samples", "Median ms", "p90 ms", "Tokens/s", "Of bandwidth", "Over weights"});
  auto prefill = row_of(fmt::format("prefill of {}", report.options.prompt), report.options.prompt,
                        result.prefill_ms);
  prefill.insert(prefill.end(), {"", ""});
  table.add_row(prefill);
  for (const DecodeTimes& times : result.decode) {
    auto row = row_of(fmt::format("decode at depth {}", times.depth), 1, times.samples_ms);
    row.push_back(fmt::format("{:.0f}%", 100 * report.bandwidth_share(times)));
    row.push_back(fmt::format("{:.2f}x", report.weights_ratio(times)));
    table.add_row(row);
  }
  fmt::print("{}", table.to_string());
  if (verbose) {
    print_bandwidth_shapes(bandwidth);
  }
}

int run_bench(const BenchArguments& arguments) {
  std::optional<AtomicFile> file;
  if (!arguments.json.empty() && !arguments.json_to_stdout()) {
    file.emplace(arguments.json);  // before the work that it would lose
  }
  const BenchReport report = measure(arguments);
  const bool holds = report.result.holds();
  if (file) {
    file->stream() << to_json(report).dump(2) << '\n';
    file->commit();
  }
  if (arguments.json_to_stdout()) {
    fmt::print("{}\n", to_json(report).dump(2));
  } else {
    print_human(report, arguments.model.verbose);
  }
  if (!holds) {
    fmt::print(stderr, "error: cached and uncached do not agree: {}\n",
               report.result.agreement.describe());
  }
  return holds ? kOk : kFailed;
}

}  // namespace

Command add_bench(CLI::App& program) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* parser = program.add_subcommand(
      "bench",
      "Measures prefill (time to first token) and decoding (time per token) apart, beside "
      "the memory's read bandwidth and the agreement with a model without cache");
  arguments->model.add_to(*parser);
  parser
      ->add_option("--prompt", arguments->prompt,
                   fmt::format("tokens of the prefill (default: {})", kDefaultPrompt))
      ->check(at_least_one());
  parser
      ->add_option("--tokens", arguments->tokens,
                   fmt::format("tokens decoded in each round (default: {})", kDefaultTokens))
      ->check(at_least_one());
  parser
      ->add_option("--depth", arguments->depths,
                   fmt::format("tokens cached before decoding begins, one or more separated by "
                               "commas (default: {},{})",
                               kDefaultDepth, kDefaultDeep))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(at_least_one());
  parser->add_option("--repeat", arguments->repeat, "rounds, after one to warm up")
      ->capture_default_str()
      ->check(at_least_one());
  parser
      ->add_option("--bandwidth-mib", arguments->bandwidth_mib,
                   "MiB of the arrays that bandwidth is measured with, held twice (default: eight "
                   "times the last-level cache, at least 256)")
      ->check(at_least_one());
  parser->add_option("--json", arguments->json,
                     "writes everything measured, raw samples included, to this file; - for "
                     "standard output, without the table");
  parser->footer(kExitStatusHelp);
  return {parser, [arguments] { return run_bench(*arguments); }};
}

}  // namespace kvcache::cli
