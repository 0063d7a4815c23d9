// What is written of games and searches: training data, traces, TGN.
#pragma once

#include <filesystem>
#include <string>

#include "selfplay/played_game.hpp"

namespace trigo {

/// A line of training data: the game's moves and score, and of each search the visits of the legal
/// moves and the root's value. README.md has the fields.
std::string data_line(const PlayedGame& game);

/// A line of a trace: the search's tree, its nodes in the order of parents before children.
std::string trace_line(const FinishedSearch& search);

/// Writes DIRECTORY/game-NNNNN.tgn.
/// @throws std::system_error
void write_tgn(const PlayedGame& game, const std::filesystem::path& directory);

}  // namespace trigo
