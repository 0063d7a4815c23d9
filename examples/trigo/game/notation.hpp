// Moves and games as text (TGN), and as the tokens of a model of it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "game/position.hpp"

namespace trigo {

/// A point's coordinates, one character per axis, trailing axes of one point left out. On an axis
/// of n points, the middle one, (n − 1) / 2 rounded down, is "0"; those before it are "a", "b", …
/// from the first one on, those behind it "z", "y", … from the last one back.
std::string point_text(const Shape& shape, Point point);

/// The same, or "Pass".
std::string move_text(const Shape& shape, Move move);

/// Reads what move_text() writes. @throws kvcache::Error invalid_argument
Move parse_move(const Shape& shape, std::string_view text);

/// "[Board 5x5]", and an empty line.
std::string header_text(const Shape& shape);

/// What stands before a move: "N. " before Black's, nothing before White's.
std::string number_text(std::size_t moves_before);

/// What a move appends to the text of a game: its number where it is Black's, itself, and a space
/// after Black's or a newline after White's.
std::string appended_text(const Shape& shape, std::size_t moves_before, Move move);

/// The line that ends a finished game, such as "; -4": Black leads by 4.
std::string result_text(int difference);

/// A game's text: with its last line where `difference` is given.
std::string game_text(const Shape& shape, std::span<const Move> moves,
                      std::optional<int> difference);

/// A game that was read.
struct GameRecord {
  Shape shape;
  std::vector<Move> moves;
  std::optional<int> difference;  // of the line that ends a finished game
};

/// Reads a game's text. Each move must be legal and each number right; a result must be the score.
/// Between words there may be any white space.
/// @throws kvcache::Error invalid_argument, naming the line
GameRecord parse_game(std::string_view text);

}  // namespace trigo
