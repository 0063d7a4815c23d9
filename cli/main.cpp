// kvcache: look at a model, run it, measure it.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string>

#include "commands.hpp"
#include "program/exit_status.hpp"
#include "program/run.hpp"
#include "report/build_facts.hpp"
#include "report/environment.hpp"

namespace kvcache::cli {
namespace {

/// Help and version are no errors; everything else is one line, and where to read on.
int report_parse_result(const CLI::App& program, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    return program.exit(error);
  }
  const auto chosen = program.get_subcommands();
  if (!chosen.empty()) {
    return report_error(
        fmt::format("{}; see kvcache {} --help", error.what(), chosen.front()->get_name()),
        kBadInput);
  }
  const auto unknown = program.remaining();
  return report_error(
      fmt::format("{}; see kvcache --help", unknown.empty()
                                                ? error.what()
                                                : fmt::format("{} is no command", unknown.front())),
      kBadInput);
}

/// The version, and what a report of a fault has to say of the build.
std::string version_text() {
  std::string text = fmt::format("kvcache {}", report::read_environment().kvcache_version);
  for (const auto& [name, value] : report::build_facts()) {
    text += fmt::format("\n{:<14}{}", name, value);
  }
  return text;
}

int run_command_line(int argc, char** argv) {
  CLI::App program("Runs GPT-2 on ONNX Runtime with an in-place KV cache.", "kvcache");
  program.require_subcommand(1);
  program.set_version_flag("--version", version_text, "Display version and build, and exit");
  program.footer(kExitStatusHelp);
  const std::array commands{add_info(program),       add_logits(program),    add_generate(program),
                            add_score(program),      add_eval_tree(program), add_tokenize(program),
                            add_detokenize(program), add_bench(program),     add_compare(program),
                            add_view(program)};
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report_parse_result(program, error);
  }
  const auto* chosen = std::ranges::find_if(
      commands, [](const Command& command) { return command.parser->parsed(); });
  return chosen->run();
}

}  // namespace
}  // namespace kvcache::cli

int main(int argc, char** argv) {
  return kvcache::cli::run_program([&] { return kvcache::cli::run_command_line(argc, argv); });
}
