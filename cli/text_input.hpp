// A text from the command line, a file or standard input.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

namespace kvcache::cli {

/// All of a file, standard input where the path is empty.
/// @throws Error invalid_argument where it cannot be read
std::string read_text(const std::filesystem::path& file);

/// --prompt, -f
struct PromptArguments {
  std::string text;
  std::filesystem::path file;

  /// Both exclude each other and `ids`.
  void add_to(CLI::App& command, CLI::Option* ids);

  /// Whether either was given.
  [[nodiscard]] bool given(const CLI::App& command) const;

  /// The text; of standard input where neither was given.
  /// @throws UsageError when that is a terminal; Error as read_text()
  [[nodiscard]] std::string read(const CLI::App& command) const;
};

}  // namespace kvcache::cli
