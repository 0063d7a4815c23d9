#include "search/rollout.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "game/score.hpp"

namespace trigo {

bool fills_own_eye(const Board& board, Point point, Colour colour) noexcept {
  return std::ranges::all_of(board.geometry().neighbours(point), [&](Point neighbour) {
    return board.stone(neighbour) == colour && board.liberties(neighbour) > 1;
  });
}

Move random_move(const Position& position, Random& random, std::vector<Point>& scratch) {
  const Board& board = position.board();
  scratch.clear();
  for (const Point point : board.geometry().all()) {
    if (board.empty(point)) {
      scratch.push_back(point);
    }
  }
  // Legality is asked for where it matters: of points drawn until one will do.
  while (!scratch.empty()) {
    std::swap(scratch[random.below(scratch.size())], scratch.back());
    const Move move{scratch.back()};
    if (position.is_legal(move) && !fills_own_eye(board, move.point, position.to_move())) {
      return move;
    }
    scratch.pop_back();
  }
  return Move::pass();
}

double rollout(const Position& from, Random& random) {
  Position position = from;
  const std::size_t points = position.board().geometry().points();
  const std::size_t last = position.moves() + 3 * points;
  std::vector<Point> scratch;
  while (!position.ended() && position.moves() < last) {
    position.play(random_move(position, random, scratch));
  }
  return end_value(area(position.board()).difference(), points);
}

Evaluation RolloutEvaluator::evaluate(const KeptPosition* /*before*/, std::string_view /*text*/,
                                      const Position& position, std::span<const Move> moves,
                                      Stopwatch& stopwatch) {
  Evaluation evaluation;
  evaluation.priors.assign(moves.size(), 1.0F / static_cast<float>(moves.size()));
  evaluation.value = rollout(position, random_);
  stopwatch.lap(Part::model);
  return evaluation;
}

}  // namespace trigo
