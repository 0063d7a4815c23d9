// Where what `kvcache bench` measured goes: JSON, and a page of it.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.hpp"
#include "base/checked_json.hpp"
#include "report/json.hpp"

namespace kvcache::cli {

/// --json, --html, --baselines
struct BenchFiles {
  std::string json;
  std::string html;
  std::vector<std::filesystem::path> baselines;

  void add_to(CLI::App& command);
  [[nodiscard]] bool json_to_stdout() const { return json == "-"; }
};

class BenchOutput {
 public:
  /// Opens what is written and reads what is shown beside it, so that what is wrong with them is
  /// known before anything is measured.
  /// @throws std::system_error, Error invalid_argument
  explicit BenchOutput(const BenchFiles& files);

  /// One measurement, or an array of several; the page is made of the same text.
  void write(const std::vector<report::Json>& measured);

 private:
  bool json_to_stdout_;
  std::optional<AtomicFile> json_;
  std::optional<AtomicFile> html_;
  std::vector<std::unique_ptr<JsonDocument>> baselines_;
};

}  // namespace kvcache::cli
