#include "slash_command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/checked_json.hpp"
#include "program/exit_status.hpp"
#include "program/whole_number.hpp"

namespace kvcache::cli {
namespace {

using Kind = SlashCommandKind;

constexpr std::size_t kMaxTurns = 1'000'000;

std::size_t parse_turns(const std::string& argument) {
  if (argument.empty()) {
    return 1;
  }
  const auto turns = read_whole_number(argument, 1, kMaxTurns);
  if (!turns) {
    throw UsageError(fmt::format("/rewind: {} is not a whole number from 1 to {}",
                                 in_quotes(argument), kMaxTurns));
  }
  return *turns;
}

constexpr std::array<SlashCommandHelp, 9> kCommands{{
    {Kind::rewind, "rewind", "[N]", "takes the last N turns back (1)"},
    {Kind::fork, "fork", "NAME", "goes on in a copy of the text; nothing is computed"},
    {Kind::switch_to, "switch", "NAME", "goes to another text"},
    {Kind::texts, "texts", "", "lists the texts, * the one that goes on"},
    {Kind::history, "history", "", "prints the whole text"},
    {Kind::save, "save", "FILE", "saves the text with its keys and values"},
    {Kind::load, "load", "FILE", "goes on after a saved text"},
    {Kind::help, "help", "", "prints this"},
    {Kind::quit, "quit", "", "ends, as the end of the input does"},
}};

}  // namespace

std::span<const SlashCommandHelp> slash_commands() noexcept { return kCommands; }

SlashCommand parse_slash_command(std::string_view line) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string_view name = line.substr(1, space - 1);
  const auto* const found = std::ranges::find(kCommands, name, &SlashCommandHelp::name);
  if (found == kCommands.end()) {
    throw UsageError(
        fmt::format("{} is no command; /help lists them", in_quotes(line.substr(0, space))));
  }
  SlashCommand command{found->kind, std::string(line.substr(std::min(space + 1, line.size())))};
  if (found->argument.empty() && !command.argument.empty()) {
    throw UsageError(fmt::format("/{} takes nothing after it", name));
  }
  if (command.argument.empty() && found->argument == "FILE") {
    throw UsageError(fmt::format("/{}: give the file's name", name));
  }
  if (command.argument.empty() && found->kind == Kind::fork) {
    throw UsageError("/fork: give the copy's name");
  }
  if (found->kind == Kind::rewind) {
    command.turns = parse_turns(command.argument);
  }
  return command;
}

}  // namespace kvcache::cli
