// What the modes of `kvcache bench` have in common.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kvcache/kvcache.hpp"
#include "program/interrupt.hpp"
#include "program/progress.hpp"
#include "report/agreement.hpp"
#include "report/json.hpp"

namespace kvcache::cli {

/// What was asked for; what was not given has a default of each mode.
struct BenchOptions {
  std::optional<std::size_t> prompt;
  std::optional<std::size_t> tokens;
  std::vector<std::size_t> depths;
  std::optional<std::size_t> rows;
  std::optional<std::size_t> siblings;
  std::optional<std::size_t> nodes;
  std::optional<std::size_t> clients;
  bool curve = false;
  WindowOptions window;
  std::size_t repeat = 5;
  std::filesystem::path model;        // as it was named
  std::vector<std::string> generate;  // words of `kvcache generate` that load it in the same way
  std::function<void(const WorkStep&)> progress;
};

/// What a mode found out. Speeds are shown only where everything holds.
// The library's JSON moves without exceptions; clang-tidy follows it into code that is not called.
struct BenchReport {  // NOLINT(bugprone-exception-escape)
  report::Agreement agreement;
  std::vector<std::string> broken;  // what else must hold and does not
  report::Json json;                // what was measured, raw samples included
  std::string text;                 // the same as tables

  [[nodiscard]] bool holds() const noexcept { return agreement.holds() && broken.empty(); }
};

// The modes. Each checks first that what was asked for fits the model, stops where the user
// interrupts, and throws UsageError or Error.
BenchReport bench_sequence(const Model& model, const BenchOptions& options);
BenchReport bench_recompute(const Model& model, const BenchOptions& options);
BenchReport bench_fork(const Model& model, const BenchOptions& options);
BenchReport bench_tree(const Model& model, const BenchOptions& options);
BenchReport bench_batch(const Model& model, const BenchOptions& options);
BenchReport bench_search(const Model& model, const BenchOptions& options);
BenchReport bench_evaluator(const Model& model, const BenchOptions& options);
BenchReport bench_window(const Model& model, const BenchOptions& options);
BenchReport bench_start(const Model& model, const BenchOptions& options);
BenchReport bench_save(const Model& model, const BenchOptions& options);

/// What a call takes, in milliseconds.
template <typename Call>
double time_of(const Call& call) {
  throw_if_interrupted();
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

/// Any tokens will do, but always the same ones: figures of different runs are compared.
std::vector<TokenId> prompt_of(std::size_t length, const Model& model, std::uint32_t seed = 1);

/// An agreement with the tolerance of the model's type and nothing compared yet.
report::Agreement new_agreement(const Model& model);

/// Compares a row of logits, and the choice made from it, with a forward over `text` that knows no
/// cache.
void compare_with_uncached(const Model& model, std::span<const TokenId> text,
                           std::span<const float> logits, report::Agreement& agreement);

/// Whether `count` tokens are within the model's positions.
/// @throws UsageError naming `what` was asked for
void check_positions(const std::string& what, std::size_t count, const Model& model);

/// Sample by sample: what ÷ by.
std::vector<double> ratios(const std::vector<double>& what, const std::vector<double>& by);

/// "12.3x (12.1 … 12.6)": the median, and the spread.
std::string format_ratio(const std::vector<double>& samples);

/// Median, spread and samples.
report::Json ratio_to_json(const std::vector<double>& samples);

}  // namespace kvcache::cli
