#include "bench_output.hpp"

#include <fmt/format.h>

#include "arguments.hpp"
#include "json_file.hpp"
#include "program/exit_status.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/bench_page.hpp"
#include "report/html/bench_parts.hpp"

namespace kvcache::cli {

void BenchFiles::add_to(CLI::App& command) {
  command
      .add_option("--json", json,
                  "writes everything measured, raw samples included, to this file (an array where "
                  "there are several modes); - for standard output, without the tables")
      ->check(not_empty());
  auto* page = command
                   .add_option("--html", html,
                               "writes a page of what was measured to this file: drawings and "
                               "tables, no network, no script (docs/REPORT.md)")
                   ->check(not_empty());
  command
      .add_option("--baselines", baselines,
                  "with --html: other runtimes beside it, from a file that "
                  "bench/peers/cpu_peers.py --json wrote")
      ->allow_extra_args(false)
      ->needs(page);
}

BenchOutput::BenchOutput(const BenchFiles& files) : json_to_stdout_(files.json_to_stdout()) {
  for (const std::filesystem::path& path : files.baselines) {
    baselines_.push_back(read_json_file(path, report::html::peers_source(path.string())));
    // What cannot be shown is told now.
    static_cast<void>(report::html::baseline_parts(baselines_.back()->root()));
  }
  if (!files.json.empty() && !json_to_stdout_) {
    json_.emplace(files.json);
  }
  if (!files.html.empty()) {
    html_.emplace(files.html);
  }
}

void BenchOutput::write(const std::vector<report::Json>& measured) {
  const std::string text =
      measured.size() == 1 ? measured.front().dump(2) : report::Json(measured).dump(2);
  if (html_) {
    const JsonDocument document(text, report::html::bench_source("what was measured"));
    std::vector<JsonValue> peers;
    for (const auto& file : baselines_) {
      peers.push_back(file->root());
    }
    html_->write(report::html::bench_page(report::html::benches_of(document.root()), peers));
    html_->commit();
  }
  if (json_) {
    json_->write(text + '\n');
    json_->commit();
  }
  if (json_to_stdout_) {
    fmt::print("{}\n", text);
  }
}

}  // namespace kvcache::cli
