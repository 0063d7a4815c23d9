// What trigo_selfplay can do.
#pragma once

#include "selfplay/options.hpp"

namespace trigo {

/// Does what the command line asks for; returns the exit status.
/// @throws kvcache::Error, std::system_error, kvcache::cli::Interrupted
int run_command(const ProgramOptions& options);

}  // namespace trigo
