// What is typed to kvcache generate --interactive and begins with a slash. A command that is taken,
// written again from its parts, is the same.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "fuzz/expect_only_errors.hpp"
#include "slash_command.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvcache;
  const std::string line = "/" + std::string(test::as_text(data, size));
  test::expect_only_errors([&] {
    const cli::SlashCommand command = cli::parse_slash_command(line);
    const auto help =
        std::ranges::find(cli::slash_commands(), command.kind, &cli::SlashCommandHelp::kind);
    std::string again = "/" + std::string(help->name);
    if (!command.argument.empty()) {
      again += " " + command.argument;
    }
    const cli::SlashCommand same = cli::parse_slash_command(again);
    if (same.kind != command.kind || same.argument != command.argument ||
        same.turns != command.turns || command.turns == 0 ||
        (help->argument.empty() && !command.argument.empty())) {
      std::abort();
    }
  });
  return 0;
}
