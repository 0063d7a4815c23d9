// What a text has to be, on the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kvcache/constraint.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/model.hpp"

namespace kvcache::cli {

/// --choice, --choices, --regex, --json-schema
struct ConstraintArguments {
  void add_to(CLI::App& command);

  [[nodiscard]] bool given() const noexcept {
    return !choices_.empty() || !file_.empty() || !regex_.empty() || !json_schema_.empty();
  }

  /// What the text has to be; null where nothing was given. Choices are texts of the options'
  /// tokenizer, or tokens where they have none.
  /// @throws UsageError for a file's empty line, for ids that are none, and for a grammar without a
  ///         tokenizer; Error as one_of() and GrammarCompiler, and invalid_argument where a file
  ///         cannot be read
  [[nodiscard]] std::unique_ptr<Constraint> constraint(const GenerateOptions& options,
                                                       const ModelInfo& model) const;

 private:
  [[nodiscard]] std::unique_ptr<Constraint> one_of_choices(const GenerateOptions& options,
                                                           const ModelInfo& model) const;
  [[nodiscard]] std::vector<std::string> choices() const;
  [[nodiscard]] std::string json_schema() const;

  std::vector<std::string> choices_;
  std::filesystem::path file_;
  std::string regex_;
  std::string json_schema_;  // or the name of its file
};

}  // namespace kvcache::cli
