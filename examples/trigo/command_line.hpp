// How the programs here read their arguments.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "program/exit_status.hpp"
#include "program/run.hpp"

namespace trigo {

/// Reads the arguments; the exit status where there is nothing more to do: help was printed, or a
/// mistake was told in a line.
inline std::optional<int> read_arguments(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      return app.exit(error);
    }
    return kvcache::cli::report_error(
        fmt::format("{}; see {} --help", error.what(), app.get_name()), kvcache::cli::kBadInput);
  }
}

}  // namespace trigo
