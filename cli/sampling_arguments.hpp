// How tokens are drawn, on the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "kvcache/sampler.hpp"

namespace kvcache::cli {

/// --temperature, --top-k, --top-p, --min-p, --typical-p, --seed, penalties and biases.
struct SamplingArguments {
  void add_to(CLI::App& command);

  /// The options. Without any that draws by chance, the largest logit is taken (temperature 0);
  /// with one of them, the temperature is 1 unless it was given.
  /// @throws UsageError for options that do nothing beside each other, and for a bias that is none;
  ///         what is out of range is the Sampler's to say
  [[nodiscard]] SamplingOptions parse(const CLI::App& command) const;

 private:
  SamplingOptions options_;
  std::string biases_;
};

}  // namespace kvcache::cli
