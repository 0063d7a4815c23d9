// The specification's benchmark: does the cache work, what does it gain, what does it take?
//
// Test 1 runs a few tokens. Test 2 generates the same tokens twice, with the cache (scenario A) and
// by recomputing the whole sequence for each token (scenario B), and compares time and tokens.
// Test 3 looks at the cache's memory. The exit status says whether everything held.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "kvcache_inferencer.hpp"
#include "program/exit_status.hpp"
#include "program/run.hpp"
#include "program/standard_streams.hpp"
#include "program/whole_number.hpp"
#include "prototype/checks.hpp"
#include "prototype/count_copies.hpp"
#include "prototype/scenarios.hpp"
#include "report/format.hpp"
#include "report/scenario_comparison.hpp"

namespace {

using namespace kvcache::prototype;
using kvcache::TokenId;

constexpr std::size_t kBasicTokens = 10;
constexpr std::size_t kDefaultTokens = 256;

void print_heading(const char* heading) { fmt::print("\n=== {} ===\n\n", heading); }

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

// ---- Test 2 -------------------------------------------------------------------------------------

bool compare_scenarios(const CachedGeneration& cached, const Recomputation& recomputed) {
  const kvcache::report::ScenarioComparison comparison{
      .with_cache = cached.latencies,
      .without_cache = recomputed.latencies,
      .measured = recomputed.measured,
  };
  fmt::print("{}\n{}\n{}\n{}\n", comparison.describe_scenario_a(), comparison.describe_scenario_b(),
             comparison.describe_summary(), comparison.describe_curve());
  const bool same =
      print_check(recomputed.agreement.holds(),
                  "Both scenarios produced the same tokens: " + recomputed.agreement.describe());
  return same && comparison.cache_is_faster();
}

// ---- Test 3 -------------------------------------------------------------------------------------

/// The theoretical size of the cache, written out.
std::string formula(const kvcache::ModelInfo& info) {
  const std::size_t element_bytes = kvcache::data_type_size(info.cache_dtype);
  const std::size_t scale_bytes = info.kv_vector_bytes() - info.head_dim * element_bytes;
  const std::string row = fmt::format("{} x {} bytes", info.head_dim, element_bytes);
  return fmt::format(
      "2 x {} layers x 1 x {} heads x {} positions x {}", info.num_layers, info.num_kv_heads,
      info.max_seq_len,
      scale_bytes == 0 ? row : fmt::format("({} + {} of a scale)", row, scale_bytes));
}

bool test_memory(const KVCacheInferencer& inferencer,
                 const KVCacheInferencer::Metrics& after_first) {
  const kvcache::ModelInfo& info = inferencer.model().info();
  const std::size_t allocated = inferencer.cache_bytes_allocated();
  const std::size_t theoretical = inferencer.cache_bytes_theoretical();
  using kvcache::report::format_bytes;
  fmt::print(
      "KV Cache Memory:\n"
      "  Allocated: {}\n"
      "  Theoretical: {}\n\n",
      format_bytes(allocated), format_bytes(theoretical));
  bool held = print_check(
      allocated == theoretical,
      allocated == theoretical
          ? "Memory allocation matches theoretical calculation"
          : fmt::format("Memory allocation differs from theoretical calculation: {} bytes",
                        allocated));
  fmt::print("  {} bytes = {}\n", theoretical, formula(info));
  held &= print_check(after_first.cache_bytes_copied == 0,
                      fmt::format("Bytes of cache copied after the first token: {}",
                                  after_first.cache_bytes_copied));
  held &= print_check(
      after_first.cache_allocations == 0,
      fmt::format("Cache allocations after the first token: {}", after_first.cache_allocations));
  return held;
}

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
  if (options.count_copies && !can_count_copies()) {
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
