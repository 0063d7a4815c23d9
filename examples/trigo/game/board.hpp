// Stones, the groups that they form, and the groups' liberties, kept up to date with every move.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "game/geometry.hpp"

namespace trigo {

enum class Colour : std::uint8_t { black, white };

constexpr Colour opponent(Colour colour) noexcept {
  return colour == Colour::black ? Colour::white : Colour::black;
}

/// What of the rules can be told from the stones alone: captures and suicide. Copies are
/// independent; copying into a board of the same shape allocates nothing.
class Board {
 public:
  explicit Board(const Geometry& geometry);

  [[nodiscard]] const Geometry& geometry() const noexcept { return *geometry_; }

  [[nodiscard]] bool empty(Point point) const noexcept { return cells_[point] == kEmpty; }
  /// Nothing for a point without a stone.
  [[nodiscard]] std::optional<Colour> stone(Point point) const noexcept;
  [[nodiscard]] std::size_t stones(Colour colour) const noexcept {
    return stones_[static_cast<std::size_t>(colour)];
  }

  /// What a stone would do on an empty point.
  struct Effect {
    std::size_t captured = 0;  // stones
    bool has_liberty = false;  // of its own group, captured points not counted
    [[nodiscard]] bool suicide() const noexcept { return captured == 0 && !has_liberty; }
  };
  [[nodiscard]] Effect effect(Point point, Colour colour) const noexcept;

  /// As `!effect().suicide()`, decided by the first neighbour that says so.
  [[nodiscard]] bool is_suicide(Point point, Colour colour) const noexcept;

  /// Places a stone on an empty point where it is no suicide, and removes what it captures.
  struct Placed {
    std::size_t captured = 0;  // stones
    Point last_captured = 0;   // one of them
  };
  Placed place(Point point, Colour colour);

  /// Of the group of a stone.
  [[nodiscard]] std::size_t liberties(Point stone) const noexcept {
    return liberty_count_[group_[stone]];
  }
  [[nodiscard]] bool is_liberty(Point stone, Point point) const noexcept {
    return (liberty_word(group_[stone], point) >> (point % kWordBits) & 1U) != 0;
  }
  [[nodiscard]] std::size_t group_size(Point stone) const noexcept { return size_[group_[stone]]; }
  [[nodiscard]] bool same_group(Point stone, Point other) const noexcept {
    return group_[stone] == group_[other];
  }

 private:
  using Word = std::uint64_t;
  static constexpr std::size_t kWordBits = 64;
  static constexpr std::uint8_t kEmpty = 2;  // beside the two colours

  [[nodiscard]] const Word& liberty_word(Point group, Point point) const noexcept {
    return liberty_sets_[group * words_ + point / kWordBits];
  }
  void add_liberty(Point group, Point point) noexcept;
  void remove_liberty(Point group, Point point) noexcept;
  void merge(Point group, Point into) noexcept;
  /// Removes a group's stones; the last of them.
  Point remove(Point group) noexcept;

  const Geometry* geometry_;
  std::size_t words_;                // of a set of points
  std::size_t stones_[2] = {0, 0};   // by colour
  std::vector<std::uint8_t> cells_;  // [points], a colour or kEmpty
  std::vector<Point> group_;         // [points], of a stone: one stone of its group, which names it
  std::vector<Point> next_;          // [points], of a stone: the next of its group, round and round
  // Of a group, at the stone that names it:
  std::vector<std::uint16_t> size_;           // [points]
  std::vector<std::uint16_t> liberty_count_;  // [points]
  std::vector<Word> liberty_sets_;            // [points, words]
};

}  // namespace trigo
