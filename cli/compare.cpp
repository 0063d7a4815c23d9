// kvcache compare: two runs of kvcache bench, and which figures differ beyond their spread.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "base/atomic_file.hpp"
#include "commands.hpp"
#include "json_file.hpp"
#include "program/exit_status.hpp"
#include "program/run.hpp"
#include "report/bench_comparison.hpp"
#include "report/html/bench_document.hpp"
#include "report/html/compare_page.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

struct CompareArguments {
  std::filesystem::path first;
  std::filesystem::path second;
  std::string html;
};

std::string rounds_text(const std::vector<double>& rounds, report::html::Unit unit) {
  const std::string median = report::html::written(report::median(rounds), unit);
  const auto [least, most] = std::ranges::minmax(rounds);
  return rounds.size() == 1
             ? median
             : fmt::format("{} ({})", median, report::html::written_spread(least, most, unit));
}

std::string ratio_text(const report::FigureComparison& figure) {
  const report::RatioInterval& ratio = figure.ratio;
  return figure.verdict == report::Verdict::one_value
             ? fmt::format("{:.3f}x", ratio.ratio)
             : fmt::format("{:.3f}x ({:.3f} … {:.3f})", ratio.ratio, ratio.low, ratio.high);
}

void print_comparison(const report::BenchComparison& comparison) {
  report::Table table({"Figure", "First", "Second", "Second ÷ first", "The second is"});
  for (const report::FigureComparison& figure : comparison.figures) {
    const report::html::Unit unit = report::html::unit_of(figure.kind);
    table.add_row({figure.name, rounds_text(figure.first, unit), rounds_text(figure.second, unit),
                   ratio_text(figure), report::verdict_text(figure)});
  }
  for (const std::string& line : comparison.different_settings) {
    fmt::print("Not alike  {}\n", line);
  }
  for (const std::string& name : comparison.only_one) {
    fmt::print("Only one   {}\n", name);
  }
  if (comparison.not_holding.empty()) {
    fmt::print("{}{}\n{}\n", comparison.different_settings.empty() ? "" : "\n", table.to_string(),
               report::comparison_rule());
  } else {
    fmt::print("No comparison: something does not hold.\n");
  }
}

/// Names that tell the files apart: without their folders where that is enough.
std::pair<std::string, std::string> short_names(const CompareArguments& arguments) {
  const auto first = arguments.first.filename().string();
  const auto second = arguments.second.filename().string();
  return first == second ? std::pair(arguments.first.string(), arguments.second.string())
                         : std::pair(first, second);
}

int run_compare(const CompareArguments& arguments) {
  const auto first =
      read_json_file(arguments.first, report::html::bench_source(arguments.first.string()));
  const auto second =
      read_json_file(arguments.second, report::html::bench_source(arguments.second.string()));
  const auto [first_name, second_name] = short_names(arguments);
  const report::html::ComparedRuns runs{.first_name = first_name,
                                        .second_name = second_name,
                                        .first = report::html::benches_of(first->root()),
                                        .second = report::html::benches_of(second->root())};
  const report::BenchComparison comparison = report::compare_benches(runs.first, runs.second);
  if (!arguments.html.empty()) {
    AtomicFile file(arguments.html);
    file.write(report::html::compare_page(runs, comparison));
    file.commit();
  }
  print_comparison(comparison);
  for (const std::string& reason : comparison.not_holding) {
    report_error(reason, kFailed);
  }
  return comparison.not_holding.empty() ? kOk : kFailed;
}

}  // namespace

Command add_compare(CLI::App& program) {
  auto arguments = std::make_shared<CompareArguments>();
  CLI::App* parser = program.add_subcommand(
      "compare",
      "Compares two runs of kvcache bench: medians, spreads, ratios, and which figures differ by "
      "more than their spread");
  parser->add_option("FIRST", arguments->first, "a file that kvcache bench --json wrote")
      ->required();
  parser->add_option("SECOND", arguments->second, "another one, of the same modes")->required();
  parser
      ->add_option("--html", arguments->html,
                   "also writes a page of the comparison to this file (docs/REPORT.md)")
      ->check(not_empty());
  parser->footer(kExitStatusHelp);
  return {parser, [arguments] { return run_compare(*arguments); }};
}

}  // namespace kvcache::cli
