// What is typed to kvcache generate --interactive and is no part of the text.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace kvcache::cli {

enum class SlashCommandKind { rewind, fork, switch_to, texts, history, save, load, help, quit };

/// A line that begins with a slash, taken apart.
struct SlashCommand {
  SlashCommandKind kind;
  std::string argument;   // a name, or a file; of /save and /fork never empty
  std::size_t turns = 1;  // of /rewind
};

/// Everything that can be typed.
struct SlashCommandHelp {
  SlashCommandKind kind;
  std::string_view name;
  std::string_view argument;  // what stands behind the name; empty: nothing may
  std::string_view help;
};
std::span<const SlashCommandHelp> slash_commands() noexcept;

/// What a line that begins with a slash asks for.
/// @throws UsageError where there is no such command, or what is behind its name is not what it
///         takes
SlashCommand parse_slash_command(std::string_view line);

}  // namespace kvcache::cli
