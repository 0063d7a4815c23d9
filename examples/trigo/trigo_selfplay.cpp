// Plays Trigo by searches that a model guides: with itself, against others, with a person.
#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "program/exit_status.hpp"
#include "program/run.hpp"
#include "selfplay/commands.hpp"
#include "selfplay/options.hpp"

namespace trigo {
namespace {

int run(int argc, char** argv) {
  ProgramOptions options;
  CLI::App app("Plays Trigo by searches that a model guides.", "trigo_selfplay");
  app.footer(kvcache::cli::kExitStatusHelp);
  options.add_to(app);
  if (const auto status = read_arguments(app, argc, argv)) {
    return *status;
  }
  return run_command(options);
}

}  // namespace
}  // namespace trigo

int main(int argc, char** argv) {
  return kvcache::cli::run_program([&] { return trigo::run(argc, argv); });
}
