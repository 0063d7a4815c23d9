// What trigo_selfplay does.
#pragma once

#include "selfplay/options.hpp"

namespace trigo {

int run_self_play(const ProgramOptions& options);

}  // namespace trigo
