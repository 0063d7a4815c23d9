// Random games to their end: what a position is worth to players who know the rules only.
#pragma once

#include <cstdint>
#include <vector>

#include "search/position_evaluator.hpp"
#include "search/random.hpp"

namespace trigo {

/// Whether a stone of this colour would fill a point that all its neighbours of the same colour
/// surround, none of them in danger: what no sensible player does, and without which random games
/// would not end.
bool fills_own_eye(const Board& board, Point point, Colour colour) noexcept;

/// A legal move at random, each with the same probability but those that fill an own eye; a pass
/// where there is no other.
Move random_move(const Position& position, Random& random, std::vector<Point>& scratch);

/// Plays random moves to the end, or to three times as many moves as there are points, and returns
/// the end's value for White, as end_value().
double rollout(const Position& from, Random& random);

/// The same prior for each move, and one rollout's value.
class RolloutEvaluator final : public PositionEvaluator {
 public:
  void start(std::uint64_t seed) override { random_ = Random(seed); }

  Evaluation evaluate(const KeptPosition* before, std::string_view text, const Position& position,
                      std::span<const Move> moves, Stopwatch& stopwatch) override;

 private:
  Random random_{0};
};

}  // namespace trigo
