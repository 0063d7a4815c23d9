// A board for people to look at.
#pragma once

#include <optional>
#include <string>

#include "game/position.hpp"

namespace trigo {

/// Lines of text: x to the right, y downwards, the layers of z one beside the other; X is Black, O
/// White, and the stone that was played last stands in brackets.
std::string drawing(const Board& board, std::optional<Move> last);

}  // namespace trigo
