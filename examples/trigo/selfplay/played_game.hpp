// One game between two players, or of one with itself, and what is recorded of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "game/position.hpp"
#include "search/player.hpp"

namespace trigo {

/// How a game is played.
struct GameRules {
  Shape shape;
  std::size_t max_moves = 500;
  std::size_t opening = 0;  // moves at random before the players take over
};

/// What a search found.
struct SearchRecord {
  std::size_t ply = 0;  // moves before it
  std::vector<Move> moves;
  std::vector<std::uint32_t> visits;  // of each
  double value = 0;                   // of the root, for White, in the scale of end_value()
};

struct PlayedGame {
  std::size_t number = 0;
  std::uint64_t seed = 0;
  Shape shape;
  std::vector<Move> moves;
  int difference = 0;  // White − Black
  std::vector<SearchRecord> searches;
  std::uint64_t visit_hash = 0;  // of all searches
  // Of both players' searches:
  std::size_t evaluations = 0;
  std::size_t simulated = 0;
  Stopwatch parts;
  double seconds = 0;  // of the whole game
  std::string trace;   // a line for each search, where asked for
};

/// A search that has just been made, of the position that a player is to move in.
struct FinishedSearch {
  const PlayedGame& game;  // so far, its searches without this one
  const SearchNode& root;
  Move chosen;
  double seconds;
};

/// Plays a game to its end: two passes, a settled board (is_settled()), or `max_moves`. Both places
/// of `players`, Black's first, may hold the same one. `observe`, where given, is told of each
/// search and returns what is added to the game's trace.
/// @throws kvcache::cli::Interrupted where the program was asked to end
PlayedGame play_game(const std::array<Player*, 2>& players, const GameRules& rules,
                     std::size_t number, std::uint64_t seed,
                     const std::function<std::string(const FinishedSearch&)>& observe = {});

}  // namespace trigo
