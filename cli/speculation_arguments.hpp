// How the next tokens are guessed, on the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "arguments.hpp"
#include "kvcache/speculation.hpp"

namespace kvcache::cli {

/// --prompt-lookup, --draft-model, --max-drafts.
struct SpeculationArguments {
  void add_to(CLI::App& command);

  [[nodiscard]] bool given() const noexcept { return prompt_lookup_ || !draft_model_.empty(); }
  [[nodiscard]] const SpeculationOptions& options() const noexcept { return options_; }

  /// What guesses. A smaller model runs as `like` says of the one whose tokens it guesses.
  /// @throws UsageError where it has another vocabulary; Error as Model::load
  [[nodiscard]] std::unique_ptr<Drafter> drafter(const ModelArguments& like,
                                                 const ModelInfo& guessed) const;

 private:
  bool prompt_lookup_ = false;
  std::filesystem::path draft_model_;
  SpeculationOptions options_;
};

}  // namespace kvcache::cli
