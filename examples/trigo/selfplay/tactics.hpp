// Positions with the right move, and whether a player finds it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "game/position.hpp"
#include "search/player.hpp"

namespace trigo {

struct Tactic {
  std::string name;
  std::string why;
  Shape shape;
  std::vector<Move> moves;  // that lead to the position
  std::vector<Move> right;  // any of these
};

/// Reads a JSON array of {"name", "board": [x, y, z], "moves", "right", "why"}.
/// @throws kvcache::Error invalid_argument where it is none, or a move is illegal
std::vector<Tactic> read_tactics(const std::filesystem::path& file);

struct TacticAnswer {
  Move found;
  bool right = false;
  // Of a search, else 0:
  double share = 0;   // of its visits that went to the move
  double value = 0;   // of the move, for White
  double others = 0;  // of all other moves, for White
};

/// What a player does in such a position.
TacticAnswer answer_to(const Tactic& tactic, Player& player, std::uint64_t seed);

}  // namespace trigo
