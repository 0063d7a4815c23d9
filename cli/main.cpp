// kvcache: look at a model, run it, measure it.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "commands.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "kvcache/error.hpp"
#include "report/environment.hpp"

namespace kvcache::cli {
namespace {

/// One line, whatever the message: those of ONNX Runtime may have several.
ExitStatus report_error(std::string message, ExitStatus status) {
  std::ranges::replace(message, '\n', ' ');
  fmt::print(stderr, "error: {}\n", message);
  return status;
}

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

/// What was printed but did not arrive (such as on a full disk) is a failure.
int flush_output(int status) {
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  return written ? status : report_error("cannot write to standard output", kFailed);
}

int run_program(int argc, char** argv) {
  CLI::App program("Runs GPT-2 on ONNX Runtime with an in-place KV cache.", "kvcache");
  program.require_subcommand(1);
  program.set_version_flag("--version", report::read_environment().kvcache_version);
  program.footer(kExitStatusHelp);
  const std::array commands{add_info(program), add_logits(program), add_generate(program),
                            add_eval_tree(program), add_bench(program)};
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report_parse_result(program, error);
  }
  const auto* chosen = std::ranges::find_if(
      commands, [](const Command& command) { return command.parser->parsed(); });
  return chosen->run();
}

/// Runs `work` and turns what it throws into a line and an exit status.
template <typename Work>
int guarded(const Work& work) {
  try {
    return flush_output(work());
  } catch (const Error& error) {
    return report_error(error.what(), exit_status(error.code()));
  } catch (const UsageError& error) {
    return report_error(error.what(), kBadInput);
  } catch (const Interrupted& error) {
    std::fflush(stdout);
    return report_error(error.what(), kInterrupted);
  } catch (const std::bad_alloc&) {
    return report_error("out of memory", kFailed);
  } catch (const std::exception& error) {
    return report_error(error.what(), kFailed);
  }
}

}  // namespace
}  // namespace kvcache::cli

int main(int argc, char** argv) {
  kvcache::cli::catch_interrupts();
  return kvcache::cli::guarded([&] { return kvcache::cli::run_program(argc, argv); });
}
