// Who owns what, and what an end is worth.
#pragma once

#include <cstddef>

#include "game/board.hpp"

namespace trigo {

/// Points by owner: stones, and empty regions that touch stones of one colour only.
struct Area {
  int black = 0;
  int white = 0;
  int neutral = 0;  // empty regions that touch both colours, or none

  /// The score: positive where White leads. There is no komi.
  [[nodiscard]] int difference() const noexcept { return white - black; }
};

Area area(const Board& board);

/// Whether nothing is left to decide: both colours have stones, more than half of the points have
/// one, and no point is neutral. A search may stop there.
bool is_settled(const Board& board);

/// What an end is worth, for White, in the scale of a value head's tanh:
///
///     sign(d) · (1 + ln |d|) / (1 + ln points),  0 for a tie.
///
/// The game's own value of an end, sign(d) · (1 + ln |d|), is at most 1 + ln points, where one
/// colour owns the whole board: divided by that it lies in [−1, 1], and a network that was trained
/// towards it can be averaged with it.
double end_value(int difference, std::size_t points) noexcept;

}  // namespace trigo
