#include "game/score.hpp"

#include <cmath>
#include <cstdlib>
#include <vector>

namespace trigo {
namespace {

/// An empty region: its size, and which colours it touches.
struct Region {
  int points = 0;
  bool touches[2] = {false, false};
};

/// Visits the region of an empty point that was not seen yet.
Region flood(const Board& board, Point from, std::vector<bool>& seen, std::vector<Point>& waiting) {
  Region region;
  seen[from] = true;
  waiting.assign(1, from);
  while (!waiting.empty()) {
    const Point point = waiting.back();
    waiting.pop_back();
    ++region.points;
    for (const Point neighbour : board.geometry().neighbours(point)) {
      if (const auto stone = board.stone(neighbour)) {
        region.touches[static_cast<std::size_t>(*stone)] = true;
      } else if (!seen[neighbour]) {
        seen[neighbour] = true;
        waiting.push_back(neighbour);
      }
    }
  }
  return region;
}

}  // namespace

Area area(const Board& board) {
  Area area;
  area.black = static_cast<int>(board.stones(Colour::black));
  area.white = static_cast<int>(board.stones(Colour::white));
  std::vector<bool> seen(board.geometry().points());
  std::vector<Point> waiting;
  for (const Point point : board.geometry().all()) {
    if (!board.empty(point) || seen[point]) {
      continue;
    }
    const Region region = flood(board, point, seen, waiting);
    if (region.touches[0] == region.touches[1]) {
      area.neutral += region.points;
    } else {
      (region.touches[0] ? area.black : area.white) += region.points;
    }
  }
  return area;
}

bool is_settled(const Board& board) {
  const std::size_t black = board.stones(Colour::black);
  const std::size_t white = board.stones(Colour::white);
  return black > 0 && white > 0 && 2 * (black + white) > board.geometry().points() &&
         area(board).neutral == 0;
}

double end_value(int difference, std::size_t points) noexcept {
  if (difference == 0) {
    return 0;
  }
  const double size = (1 + std::log(std::abs(difference))) / (1 + std::log(points));
  return difference > 0 ? size : -size;
}

}  // namespace trigo
