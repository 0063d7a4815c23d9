#include "game/position.hpp"

namespace trigo {

bool Position::retakes_ko(Point point) const noexcept {
  return ko_ == point && board_.effect(point, to_move()).captured == 1;
}

bool Position::is_legal(Move move) const noexcept {
  if (ended()) {
    return false;
  }
  return move.is_pass() || (move.point < board_.geometry().points() && board_.empty(move.point) &&
                            !board_.is_suicide(move.point, to_move()) && !retakes_ko(move.point));
}

const char* Position::why_illegal(Move move) const noexcept {
  if (is_legal(move)) {
    return "";
  }
  if (ended()) {
    return "the game has ended by two passes";
  }
  if (move.point >= board_.geometry().points()) {
    return "the board has no such point";
  }
  if (!board_.empty(move.point)) {
    return "the point has a stone";
  }
  return retakes_ko(move.point) ? "it takes a ko back at once"
                                : "its stone would have no liberty (suicide)";
}

void Position::legal_moves(std::vector<Move>& moves) const {
  moves.clear();
  if (ended()) {
    return;
  }
  for (const Point point : board_.geometry().all()) {
    if (is_legal({point})) {
      moves.push_back({point});
    }
  }
  moves.push_back(Move::pass());
}

std::vector<Move> Position::legal_moves() const {
  std::vector<Move> moves;
  legal_moves(moves);
  return moves;
}

std::size_t Position::play(Move move) {
  ko_.reset();
  std::size_t captured = 0;
  if (move.is_pass()) {
    ++passes_;
  } else {
    passes_ = 0;
    const Board::Placed placed = board_.place(move.point, to_move());
    captured = placed.captured;
    if (captured == 1) {
      ko_ = placed.last_captured;
    }
  }
  ++moves_;
  return captured;
}

}  // namespace trigo
