// The specification's benchmark: does the cache work, what does it gain, what does it take?
//
// Test 1 runs a few tokens. Test 2 generates the same tokens twice, with the cache (scenario A) and
// by recomputing the whole sequence for each token (scenario B), and compares time and tokens.
// Test 3 looks at the cache's memory. The exit status says whether everything held.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kvcache_inferencer.hpp"
#include "program/exit_status.hpp"
#include "program/interrupt.hpp"
#include "program/run.hpp"
#include "program/standard_streams.hpp"
#include "program/whole_number.hpp"
#include "report/agreement.hpp"
#include "report/format.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

#ifdef KVCACHE_HAS_CUPTI
#include "gpu/device_activity.hpp"
#endif

namespace {

using kvcache::TokenId;
using kvcache::report::Agreement;
using Milliseconds = std::vector<double>;

constexpr std::size_t kBasicTokens = 10;
constexpr std::size_t kDefaultTokens = 256;
constexpr std::size_t kFirstCurvePoint = 16;
constexpr double kTargetSpeedup = 10;
constexpr double kRecomputationBudgetMs = 30'000;  // beyond it, scenario B is sampled

/// GPT-2's vocabulary ends with the token that begins a text, 50256.
TokenId begin_of_text(const KVCacheInferencer& inferencer) {
  return static_cast<TokenId>(inferencer.model().info().vocab_size) - 1;
}

/// What a call takes, in milliseconds.
template <typename Call>
double time_of(const Call& call) {
  kvcache::cli::throw_if_interrupted();
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

double sum(std::span<const double> values) {
  double total = 0;
  for (const double value : values) {
    total += value;
  }
  return total;
}

void print_heading(const char* heading) { fmt::print("\n=== {} ===\n\n", heading); }

bool print_check(bool holds, const std::string& what) {
  fmt::print("  {} {}\n", holds ? "✓" : "✗", what);
  return holds;
}

// ---- Test 1 -------------------------------------------------------------------------------------

void test_basic_inference(KVCacheInferencer& inferencer) {
  inferencer.reset();
  TokenId input = begin_of_text(inferencer);
  const std::size_t count = std::min(kBasicTokens, inferencer.model().info().max_seq_len);
  for (std::size_t i = 1; i <= count; ++i) {
    TokenId top_pred = 0;
    const double latency = time_of([&] { top_pred = inferencer.forward({&input, 1}).argmax(); });
    fmt::print("Token {:2}: input={} | latency={:7.2f}ms | top_pred={}\n", i, input, latency,
               top_pred);
    input = top_pred;
  }
}

// ---- Test 2, scenario A -------------------------------------------------------------------------

/// Tokens generated with the cache: step i (from 1) took latencies[i - 1] and gave sequence[i].
struct CachedGeneration {
  std::vector<TokenId> sequence;  // the prompt of one token, then the new ones
  Milliseconds latencies;
  std::map<std::size_t, std::vector<float>> logits;  // of some steps, to compare
  KVCacheInferencer::Metrics after_first;            // of all tokens but the first
};

/// Lengths at which the speedup is reported: 16, 32, 64, … and the last one.
std::vector<std::size_t> curve_points(std::size_t tokens) {
  std::vector<std::size_t> points;
  for (std::size_t n = kFirstCurvePoint; n < tokens; n *= 2) {
    points.push_back(n);
  }
  points.push_back(tokens);
  return points;
}

CachedGeneration generate_with_cache(KVCacheInferencer& inferencer, std::size_t tokens) {
  const std::vector<std::size_t> compared = curve_points(tokens);
  CachedGeneration result;
  result.sequence.push_back(begin_of_text(inferencer));
  inferencer.reset();
  for (std::size_t step = 1; step <= tokens; ++step) {
    if (step == 2) {
      inferencer.reset_metrics();
    }
    std::optional<kvcache::Logits> logits;
    TokenId next = 0;
    result.latencies.push_back(time_of([&] {
      logits = inferencer.forward({&result.sequence.back(), 1});
      next = logits->argmax();
    }));
    result.sequence.push_back(next);
    if (std::ranges::binary_search(compared, step)) {
      const std::span<const float> row = logits->last();
      result.logits[step].assign(row.begin(), row.end());
    }
  }
  result.after_first = inferencer.metrics();
  return result;
}

void print_scenario_a(const CachedGeneration& cached) {
  const double first = cached.latencies.front();
  const double total = sum(cached.latencies);
  const auto count = static_cast<double>(cached.latencies.size());
  const double subsequent = (total - first) / (count - 1);
  fmt::print("[Scenario A] Sequential generation WITH KV cache\n");
  fmt::print("  Total:              {:.2f} ms\n", total);
  fmt::print("  Average per token:  {:.2f} ms\n", total / count);
  fmt::print("  First token:        {:.2f} ms\n", first);
  fmt::print("  Subsequent average: {:.2f} ms\n", subsequent);
  fmt::print("  Speedup:            {:.2f}x (subsequent tokens over the first)\n\n",
             first / subsequent);
}

// ---- Test 2, scenario B -------------------------------------------------------------------------

/// The same generation without a cache: step i recomputes a sequence of i tokens.
struct Recomputation {
  Milliseconds latencies;    // of every step; between the measured lengths, interpolated
  std::size_t measured = 0;  // lengths that were measured
  Agreement agreement;       // of the measured steps with scenario A

  [[nodiscard]] bool sampled() const { return measured < latencies.size(); }
};

/// One step without the cache: what it took, and what came out.
struct RecomputedStep {
  double latency;
  kvcache::Logits logits;
};

/// Recomputes the first `length` tokens of scenario A's sequence.
///
/// As long as both scenarios agree on every token, that is also scenario B's own sequence; after a
/// tie by rounding, B goes on with A's choice.
RecomputedStep recompute(const KVCacheInferencer& inferencer, const CachedGeneration& cached,
                         std::size_t length) {
  std::optional<kvcache::Logits> logits;
  const double latency = time_of([&] {
    logits = inferencer.forward_without_cache(std::span(cached.sequence).first(length));
    static_cast<void>(logits->argmax());  // belongs to the work of a step
  });
  return {latency, std::move(*logits)};
}

/// Compares the token that scenario A chose after `length` tokens and, where kept, its logits.
void compare(const CachedGeneration& cached, std::size_t length, const kvcache::Logits& recomputed,
             Agreement& agreement) {
  agreement.compare_token(cached.sequence[length], recomputed.last());
  const auto kept = cached.logits.find(length);
  if (kept != cached.logits.end()) {
    agreement.compare_logits(kept->second, recomputed.last());
  }
}

/// About what all lengths together take, by Simpson's rule over the first, middle and last one.
double projected_ms(const KVCacheInferencer& inferencer, const CachedGeneration& cached) {
  const std::size_t tokens = cached.latencies.size();
  const auto warm = [&](std::size_t length) {
    recompute(inferencer, cached, length);  // the first run of a length also takes its memory
    return recompute(inferencer, cached, length).latency;
  };
  return static_cast<double>(tokens) / 6 * (warm(tokens) + 4 * warm((tokens + 1) / 2) + warm(1));
}

/// Every length, or so many evenly spaced ones that measuring each twice stays in the budget.
std::set<std::size_t> lengths_to_measure(std::size_t tokens, double projected) {
  std::size_t step = 1;
  if (projected > kRecomputationBudgetMs) {
    step = static_cast<std::size_t>(2 * projected / kRecomputationBudgetMs) + 1;
  }
  const std::vector<std::size_t> points = curve_points(tokens);
  std::set<std::size_t> lengths(points.begin(), points.end());
  for (std::size_t length = 1; length <= tokens; length += step) {
    lengths.insert(length);
  }
  return lengths;
}

/// Latencies of all lengths 1 … tokens from those measured, straight lines in between.
Milliseconds interpolated(const std::map<std::size_t, double>& measured, std::size_t tokens) {
  Milliseconds latencies;
  for (std::size_t length = 1; length <= tokens; ++length) {
    const auto above = measured.lower_bound(length);
    if (above->first == length) {
      latencies.push_back(above->second);
      continue;
    }
    const auto below = std::prev(above);
    const double share = static_cast<double>(length - below->first) /
                         static_cast<double>(above->first - below->first);
    latencies.push_back(below->second + share * (above->second - below->second));
  }
  return latencies;
}

Recomputation generate_without_cache(const KVCacheInferencer& inferencer,
                                     const CachedGeneration& cached) {
  const std::size_t tokens = cached.latencies.size();
  const std::set<std::size_t> lengths =
      lengths_to_measure(tokens, projected_ms(inferencer, cached));
  const bool sampled = lengths.size() < tokens;

  Agreement agreement{.tolerance = kvcache::report::logit_tolerance(inferencer.model().info())};
  std::map<std::size_t, double> measured;
  for (const std::size_t length : lengths) {
    const RecomputedStep step = recompute(inferencer, cached, length);
    compare(cached, length, step.logits, agreement);
    measured[length] = step.latency;
    if (sampled) {  // a jump in length costs memory that a growing sequence has already
      const double again = recompute(inferencer, cached, length).latency;
      measured[length] = std::min(step.latency, again);
    }
  }
  return {interpolated(measured, tokens), lengths.size(), agreement};
}

void print_scenario_b(const Recomputation& recomputed) {
  const double total = sum(recomputed.latencies);
  const std::size_t count = recomputed.latencies.size();
  fmt::print("[Scenario B] Recomputing full sequence WITHOUT KV cache\n");
  fmt::print("  Total:              {:.2f} ms{}\n", total,
             recomputed.sampled() ? " (interpolated)" : "");
  fmt::print("  Average per token:  {:.2f} ms\n", total / static_cast<double>(count));
  fmt::print(
      "  Measured:           {}\n\n",
      recomputed.sampled()
          ? fmt::format("{} of {} lengths, because all of them would take more than {:.0f} s",
                        recomputed.measured, count, kRecomputationBudgetMs / 1000)
          : fmt::format("all {} lengths", count));
}

// ---- Test 2, both -------------------------------------------------------------------------------

/// How much faster scenario A had produced its first `n` tokens.
double speedup_at(std::size_t n, const CachedGeneration& cached, const Recomputation& recomputed) {
  return sum(std::span(recomputed.latencies).first(n)) / sum(std::span(cached.latencies).first(n));
}

void print_curve(const CachedGeneration& cached, const Recomputation& recomputed) {
  const std::size_t tokens = cached.latencies.size();
  kvcache::report::Table table({"New tokens", "With cache (ms)", "Without (ms)", "Speedup"});
  for (const std::size_t n : curve_points(tokens)) {
    table.add_row({fmt::format("{}", n),
                   fmt::format("{:.1f}", sum(std::span(cached.latencies).first(n))),
                   fmt::format("{:.1f}", sum(std::span(recomputed.latencies).first(n))),
                   fmt::format("{:.2f}x", speedup_at(n, cached, recomputed))});
  }
  fmt::print("\n{}\n", table.to_string());

  for (std::size_t n = 1; n <= tokens; ++n) {
    if (speedup_at(n, cached, recomputed) >= kTargetSpeedup) {
      fmt::print("Target of {:.0f}x: reached at {} new tokens\n", kTargetSpeedup, n);
      return;
    }
  }
  fmt::print(
      "Target of {:.0f}x: not reached within {} new tokens; the speedup grows with their "
      "number (--tokens)\n",
      kTargetSpeedup, tokens);
}

void print_summary(const CachedGeneration& cached, const Recomputation& recomputed) {
  const double with_cache = sum(cached.latencies);
  const double without = sum(recomputed.latencies);
  const std::size_t tokens = cached.latencies.size();
  const std::size_t evaluated = tokens * (tokens + 1) / 2;
  fmt::print("[Performance Summary]\n");
  fmt::print("  Overall speedup: {:.2f}x\n", without / with_cache);
  fmt::print("  Time saved:      {:.2f} ms ({:.1f}%)\n", without - with_cache,
             100 * (1 - with_cache / without));
  fmt::print("  Efficiency:      {:.1f}% of the token evaluations avoided ({} instead of {})\n",
             100 * (1 - static_cast<double>(tokens) / static_cast<double>(evaluated)), tokens,
             evaluated);
}

bool compare_scenarios(const CachedGeneration& cached, const Recomputation& recomputed) {
  print_scenario_a(cached);
  print_scenario_b(recomputed);
  print_summary(cached, recomputed);
  print_curve(cached, recomputed);
  fmt::print("\n");
  return print_check(recomputed.agreement.holds(),
                     "Both scenarios produced the same tokens: " + recomputed.agreement.describe());
}

// ---- Test 3 -------------------------------------------------------------------------------------

bool test_memory(const KVCacheInferencer& inferencer,
                 const KVCacheInferencer::Metrics& after_first) {
  const kvcache::ModelInfo& info = inferencer.model().info();
  const std::size_t allocated = inferencer.cache_bytes_allocated();
  const std::size_t theoretical = inferencer.cache_bytes_theoretical();
  using kvcache::report::format_bytes;
  const std::size_t element_bytes = kvcache::data_type_size(info.cache_dtype);
  const std::size_t scale_bytes = info.cache_row_bytes() - info.head_dim * element_bytes;
  const std::string row = fmt::format("{} x {} bytes", info.head_dim, element_bytes);
  fmt::print("  Allocated:   {} ({} bytes)\n", format_bytes(allocated), allocated);
  fmt::print("  Theoretical: {} ({} bytes = 2 x {} layers x 1 x {} heads x {} positions x {})\n\n",
             format_bytes(theoretical), theoretical, info.num_layers, info.num_heads,
             info.max_seq_len,
             scale_bytes == 0 ? row : fmt::format("({} + {} of a scale)", row, scale_bytes));
  bool held = print_check(allocated == theoretical, "Allocated equals theoretical");
  held &= print_check(after_first.cache_bytes_copied == 0,
                      fmt::format("Bytes of cache copied after the first token: {}",
                                  after_first.cache_bytes_copied));
  held &= print_check(
      after_first.cache_allocations == 0,
      fmt::format("Cache allocations after the first token: {}", after_first.cache_allocations));
  return held;
}

// ---- --count-copies -----------------------------------------------------------------------------

#ifdef KVCACHE_HAS_CUPTI

constexpr bool kCanCountCopies = true;
constexpr std::size_t kCountedTokens = 32;

/// What crosses the bus, and what the device copies and allocates, for each decoded token.
bool count_copies(KVCacheInferencer& inferencer) {
  inferencer.reset();
  TokenId next = begin_of_text(inferencer);
  const auto decode = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      next = inferencer.forward({&next, 1}).argmax();
    }
  };
  const std::size_t positions = inferencer.model().info().max_seq_len;
  decode(std::min<std::size_t>(8, positions / 2));  // until the run is recorded
  const std::size_t count = std::min(kCountedTokens, positions / 2);
  kvcache::bench::DeviceActivity activity;
  decode(count);
  activity.finish();

  const auto tokens = static_cast<double>(count);
  const auto print = [&](const char* what, const kvcache::bench::DeviceActivity::Copies& copies) {
    fmt::print("  {:17} {:6.2f} copies, {:8.1f} bytes a token\n", what,
               static_cast<double>(copies.count) / tokens,
               static_cast<double>(copies.bytes) / tokens);
  };
  print("Host to device:", activity.host_to_device);
  print("Device to host:", activity.device_to_host);
  print("Device to device:", activity.device_to_device);
  fmt::print("  {:17} {:6.2f} a token\n\n",
             "Kernels:", static_cast<double>(activity.kernels) / tokens);
  bool held = print_check(activity.kernels > 0, "The GPU did the work");
  held &= print_check(
      activity.device_to_device.bytes == 0,
      fmt::format("Bytes copied within the device: {}", activity.device_to_device.bytes));
  held &= print_check(activity.allocations == 0,
                      fmt::format("Allocations on the device: {}", activity.allocations));
  return held;
}

#else

constexpr bool kCanCountCopies = false;

bool count_copies(const KVCacheInferencer& /*inferencer*/) { return false; }

#endif

// ---- The program --------------------------------------------------------------------------------

struct Options {
  std::filesystem::path model;
  std::optional<std::size_t> tokens;
  std::string device = "auto";
  bool count_copies = false;
};

std::filesystem::path default_model() {
  return std::filesystem::exists("models") ? "models" : "../models";
}

/// @throws kvcache::Error invalid_argument
std::size_t number_of_tokens(const Options& options, const kvcache::ModelInfo& info) {
  if (!options.tokens) {
    return std::min(kDefaultTokens, info.max_seq_len);
  }
  if (*options.tokens < 2 || *options.tokens > info.max_seq_len) {
    throw kvcache::Error(kvcache::ErrorCode::invalid_argument,
                         fmt::format("--tokens is {}, must be between 2 and {}, the positions of "
                                     "the model",
                                     *options.tokens, info.max_seq_len));
  }
  return *options.tokens;
}

kvcache::ModelOptions model_options(const Options& options) {
  kvcache::ModelOptions result;
  if (options.count_copies) {
    result.require_device = kvcache::Device::cuda;
  } else if (options.device != "auto") {
    result.require_device = options.device == "cuda" ? kvcache::Device::cuda : kvcache::Device::cpu;
  }
  return result;
}

int run(const Options& options) {
  if (options.count_copies && !kCanCountCopies) {
    throw kvcache::Error(kvcache::ErrorCode::invalid_argument,
                         "--count-copies needs CUPTI, which this build has not; configure with "
                         "-DUSE_CUDA=ON -DKVCACHE_BUILD_GPU_BENCH=ON");
  }
  if (options.count_copies && options.device == "cpu") {
    throw kvcache::Error(kvcache::ErrorCode::invalid_argument,
                         "--count-copies counts what a GPU does, and --device is cpu; leave one "
                         "of them out");
  }
  KVCacheInferencer inferencer(options.model, model_options(options));
  const std::size_t tokens = number_of_tokens(options, inferencer.model().info());

  print_heading("Test 1: basic inference");
  fmt::print("✓ Model loaded successfully\n");
  fmt::print("  {}\n\n", inferencer.model().device_report());
  test_basic_inference(inferencer);

  print_heading(fmt::format("Test 2: {} tokens with and without the cache", tokens).c_str());
  kvcache::cli::flush_standard_output();  // this takes a while
  const CachedGeneration cached = generate_with_cache(inferencer, tokens);
  const Recomputation recomputed = generate_without_cache(inferencer, cached);
  bool held = compare_scenarios(cached, recomputed);

  print_heading("Test 3: memory of the cache");
  held &= test_memory(inferencer, cached.after_first);

  if (options.count_copies) {
    print_heading("What the GPU did for a decoded token, counted by CUPTI");
    held &= count_copies(inferencer);
  }

  fmt::print("\n{}\n", held ? "All tests passed" : "FAILED: see the lines marked with ✗");
  return held ? kvcache::cli::kOk : kvcache::cli::kFailed;
}

int run_command_line(int argc, char** argv) {
  Options options;
  options.model = default_model();
  CLI::App app("Runs GPT-2 with and without the KV cache and compares time, tokens and memory.");
  app.add_option("--model", options.model, "model directory, or its .onnx file")
      ->capture_default_str();
  app.add_option("--tokens", options.tokens,
                 fmt::format("new tokens of test 2 (default: {})", kDefaultTokens))
      ->check(kvcache::cli::whole_number(0));
  app.add_option("--device", options.device, "auto, cpu or cuda; what cannot be had is an error")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_flag("--count-copies", options.count_copies,
               "after the tests, also count the GPU's copies and allocations with CUPTI");
  app.footer(
      "Exit status: 0 everything held, 1 something did not, 2 bad usage or bad input, 130\n"
      "interrupted (Ctrl-C), 143 and 129 ended by SIGTERM and SIGHUP.\n"
      "TRIGO_FORCE_CPU=1 in the environment keeps a CUDA build on the CPU.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    throw kvcache::cli::UsageError(fmt::format("{}; see --help", error.what()));
  }
  return run(options);
}

}  // namespace

int main(int argc, char** argv) {
  return kvcache::cli::run_program([&] { return run_command_line(argc, argv); });
}
