// Games for tests: from words, and at random.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "game/notation.hpp"
#include "game/position.hpp"
#include "support/random_cases.hpp"

namespace trigo::test {

inline std::vector<Move> moves_of(const Shape& shape, const std::string& words) {
  std::istringstream in(words);
  std::vector<Move> moves;
  for (std::string word; in >> word;) {
    moves.push_back(parse_move(shape, word));
  }
  return moves;
}

/// The position after some moves, each of which must be legal.
inline Position position_after(const Shape& shape, const std::string& words) {
  Position position(shape);
  for (const Move move : moves_of(shape, words)) {
    EXPECT_TRUE(position.is_legal(move)) << move_text(shape, move) << " of " << words;
    position.play(move);
  }
  return position;
}

inline bool is_legal(const Position& position, const std::string& word) {
  return position.is_legal(parse_move(position.shape(), word));
}

/// Stones in the order of points, without spaces: ".XO".
inline std::string stones_of(const Board& board) {
  std::string stones;
  for (const Point point : board.geometry().all()) {
    const auto stone = board.stone(point);
    stones += !stone ? '.' : *stone == Colour::black ? 'X' : 'O';
  }
  return stones;
}

inline Shape random_shape(kvcache::test::Random& random, std::size_t most_points) {
  for (;;) {
    const auto axis = [&] { return static_cast<int>(random.integer(1, 7)); };
    const Shape shape{axis(), axis(), random.chance(0.5) ? 1 : axis()};
    if (shape.points() <= most_points) {
      return shape;
    }
  }
}

/// Passes seldom, so that boards fill.
inline Move random_legal_move(kvcache::test::Random& random, const Position& position) {
  const std::vector<Move> moves = position.legal_moves();
  return moves.size() == 1 || random.chance(0.03) ? Move::pass()
                                                  : moves[static_cast<std::size_t>(random.integer(
                                                        0, static_cast<int>(moves.size()) - 2))];
}

}  // namespace trigo::test
