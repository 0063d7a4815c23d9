// A position of a game: stones, who moves, ko, passes. The rules are here.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "game/board.hpp"

namespace trigo {

/// A stone on a point, or a pass.
struct Move {
  static constexpr Point kPassPoint = 0xFFFF;

  Point point = kPassPoint;

  static constexpr Move pass() noexcept { return {}; }
  [[nodiscard]] constexpr bool is_pass() const noexcept { return point == kPassPoint; }
  bool operator==(const Move&) const = default;
};

/// Black moves first. A stone goes to an empty point; then enemy groups without a liberty are
/// removed; a move after which its own group has none is illegal. Nor may a stone take back at once
/// the single one that took a single one (ko), unless a pass or a move elsewhere came between. Two
/// passes in a row end the game.
class Position {
 public:
  /// @throws kvcache::Error as check_shape()
  explicit Position(const Shape& shape) : board_(Geometry::of(shape)) {}

  [[nodiscard]] const Board& board() const noexcept { return board_; }
  [[nodiscard]] const Shape& shape() const noexcept { return board_.geometry().shape(); }
  [[nodiscard]] Colour to_move() const noexcept {
    return moves_ % 2 == 0 ? Colour::black : Colour::white;
  }
  /// Moves played so far, passes included.
  [[nodiscard]] std::size_t moves() const noexcept { return moves_; }
  [[nodiscard]] bool ended() const noexcept { return passes_ == 2; }

  /// Of a point of the board, or a pass. Nothing is legal once the game has ended.
  [[nodiscard]] bool is_legal(Move move) const noexcept;

  /// In the order of points, the pass last; none once the game has ended. Into a list that is
  /// overwritten, so that a search allocates none for each position.
  void legal_moves(std::vector<Move>& moves) const;
  [[nodiscard]] std::vector<Move> legal_moves() const;

  /// Plays a legal move; returns how many stones it captured.
  std::size_t play(Move move);

  /// Why a move is illegal, as a part of a sentence, such as "the point has a stone"; empty where
  /// it is legal.
  [[nodiscard]] const char* why_illegal(Move move) const noexcept;

 private:
  [[nodiscard]] bool retakes_ko(Point point) const noexcept;

  Board board_;
  std::size_t moves_ = 0;
  int passes_ = 0;           // in a row
  std::optional<Point> ko_;  // where the move before captured one stone and no more
};

}  // namespace trigo
