// Games that a program is asked for while it runs.
#pragma once

#include <cstddef>
#include <string_view>

#include "selfplay/workers.hpp"

namespace trigo {

inline constexpr std::size_t kMostGameNumber = std::size_t{1} << 62U;

/// Reads "FIRST COUNT", numbers as of --first-game and --games, a space between them.
/// @throws kvcache::Error invalid_argument
GameNumbers parse_lease(std::string_view line);

}  // namespace trigo
