// A game replayed move by move, as JSON: what another implementation of the rules is compared with.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "game/position.hpp"

namespace trigo {

/// {"legal": of each position before a move and of the last one the legal moves, "stones": of each
/// the points as ".", "X" (Black) or "O" (White), "ended": of each whether two passes ended the
/// game, "score": White − Black at the end, "tgn": the text, with its last line where two passes
/// ended the game}
/// The moves must be legal.
std::string replayed_game(const Shape& shape, std::span<const Move> moves);

/// The same for {"board": [5, 5, 1], "moves": ["aa", "Pass"]}; {"error": message} instead of a
/// throw.
std::string replay_line(std::string_view line);

}  // namespace trigo
