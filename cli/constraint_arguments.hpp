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

/// --choice, --choices
struct ConstraintArguments {
  void add_to(CLI::App& command);

  [[nodiscard]] bool given() const noexcept { return !choices_.empty() || !file_.empty(); }

  /// What the text has to be; null where nothing was given. Choices are texts of the options'
  /// tokenizer, or tokens where they have none.
  /// @throws UsageError for a file's empty line, and for ids that are none; Error as one_of(), and
  ///         invalid_argument where a file cannot be read
  [[nodiscard]] std::unique_ptr<Constraint> constraint(const GenerateOptions& options,
                                                       const ModelInfo& model) const;

 private:
  [[nodiscard]] std::vector<std::string> choices() const;

  std::vector<std::string> choices_;
  std::filesystem::path file_;
};

}  // namespace kvcache::cli
