#include "game/board.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace trigo {

Board::Board(const Geometry& geometry)
    : geometry_(&geometry),
      words_((geometry.points() + kWordBits - 1) / kWordBits),
      cells_(geometry.points(), kEmpty),
      group_(geometry.points()),
      next_(geometry.points()),
      size_(geometry.points()),
      liberty_count_(geometry.points()),
      liberty_sets_(geometry.points() * words_) {}

std::optional<Colour> Board::stone(Point point) const noexcept {
  return empty(point) ? std::nullopt : std::optional(static_cast<Colour>(cells_[point]));
}

Board::Effect Board::effect(Point point, Colour colour) const noexcept {
  Effect effect;
  Point counted[6];  // groups that are captured: a group may touch the point more than once
  std::size_t groups = 0;
  for (const Point neighbour : geometry_->neighbours(point)) {
    if (empty(neighbour)) {
      effect.has_liberty = true;
      continue;
    }
    const Point group = group_[neighbour];
    if (cells_[neighbour] == static_cast<std::uint8_t>(colour)) {
      effect.has_liberty |= liberty_count_[group] > 1;  // one of them is this point
    } else if (liberty_count_[group] == 1 &&
               std::find(counted, counted + groups, group) == counted + groups) {
      counted[groups++] = group;
      effect.captured += size_[group];
    }
  }
  return effect;
}

bool Board::is_suicide(Point point, Colour colour) const noexcept {
  return std::ranges::none_of(geometry_->neighbours(point), [&](Point neighbour) {
    return empty(neighbour) ||
           (cells_[neighbour] == static_cast<std::uint8_t>(colour)) != (liberties(neighbour) == 1);
  });
}

Board::Placed Board::place(Point point, Colour colour) {
  const auto own = static_cast<std::uint8_t>(colour);
  cells_[point] = own;
  group_[point] = point;
  next_[point] = point;
  size_[point] = 1;
  liberty_count_[point] = 0;
  std::fill_n(liberty_sets_.begin() + static_cast<std::ptrdiff_t>(point * words_), words_, 0);
  ++stones_[own];
  Placed placed;
  for (const Point neighbour : geometry_->neighbours(point)) {
    if (empty(neighbour)) {
      add_liberty(group_[point], neighbour);
      continue;
    }
    const Point group = group_[neighbour];
    remove_liberty(group, point);
    if (cells_[neighbour] == own) {
      // Of two groups the smaller one takes the other's name, so that a stone is renamed seldom.
      const Point mine = group_[point];
      if (group != mine) {
        size_[group] < size_[mine] ? merge(group, mine) : merge(mine, group);
      }
    } else if (liberty_count_[group] == 0) {
      placed.captured += size_[group];
      placed.last_captured = remove(group);
    }
  }
  return placed;
}

void Board::add_liberty(Point group, Point point) noexcept {
  Word& word = liberty_sets_[group * words_ + point / kWordBits];
  const Word bit = Word{1} << (point % kWordBits);
  liberty_count_[group] = static_cast<std::uint16_t>(liberty_count_[group] + ((word & bit) == 0));
  word |= bit;
}

void Board::remove_liberty(Point group, Point point) noexcept {
  Word& word = liberty_sets_[group * words_ + point / kWordBits];
  const Word bit = Word{1} << (point % kWordBits);
  liberty_count_[group] = static_cast<std::uint16_t>(liberty_count_[group] - ((word & bit) != 0));
  word &= ~bit;
}

void Board::merge(Point group, Point into) noexcept {
  Point stone = group;
  do {
    group_[stone] = into;
    stone = next_[stone];
  } while (stone != group);
  std::swap(next_[group], next_[into]);  // two rings become one
  size_[into] = static_cast<std::uint16_t>(size_[into] + size_[group]);
  int count = 0;
  for (std::size_t word = 0; word < words_; ++word) {
    Word& liberties = liberty_sets_[into * words_ + word];
    liberties |= liberty_sets_[group * words_ + word];
    count += std::popcount(liberties);
  }
  liberty_count_[into] = static_cast<std::uint16_t>(count);
}

Point Board::remove(Point group) noexcept {
  stones_[cells_[group]] -= size_[group];
  Point stone = group;
  do {
    cells_[stone] = kEmpty;
    stone = next_[stone];
  } while (stone != group);
  // Only now: what was the group's own stone is no neighbour of it any more.
  do {
    for (const Point neighbour : geometry_->neighbours(stone)) {
      if (!empty(neighbour)) {
        add_liberty(group_[neighbour], stone);
      }
    }
    stone = next_[stone];
  } while (stone != group);
  return group;
}

}  // namespace trigo
