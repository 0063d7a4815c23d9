#include "game/notation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"

namespace trigo {
namespace {

using kvcache::ErrorCode;
using kvcache::in_quotes;
using kvcache::throw_error;

constexpr std::string_view kPass = "Pass";

char coordinate(int index, int axis) noexcept {
  const int middle = (axis - 1) / 2;
  if (index == middle) {
    return '0';
  }
  return static_cast<char>(index < middle ? 'a' + index : 'z' - (axis - 1 - index));
}

/// The index of a coordinate, or nothing.
std::optional<int> index_of(char letter, int axis) noexcept {
  for (int index = 0; index < axis; ++index) {
    if (coordinate(index, axis) == letter) {
      return index;
    }
  }
  return std::nullopt;
}

/// How many axes are written: all but trailing ones of one point, but one at least.
std::size_t written_axes(const std::array<int, 3>& axes) noexcept {
  std::size_t count = axes.size();
  while (count > 1 && axes[count - 1] == 1) {
    --count;
  }
  return count;
}

std::array<int, 3> axes_of(const Shape& shape) noexcept { return {shape.x, shape.y, shape.z}; }

/// The coordinates of an axis, to be shown: "ab0yz".
std::string letters_of(int axis) {
  std::string letters;
  for (int index = 0; index < axis; ++index) {
    letters += coordinate(index, axis);
  }
  return letters;
}

std::string rule_of_coordinates(const Shape& shape) {
  const auto axes = axes_of(shape);
  std::string rule;
  for (std::size_t axis = 0; axis < written_axes(axes); ++axis) {
    rule += fmt::format("{}one of {}", rule.empty() ? "" : ", then ", letters_of(axes[axis]));
  }
  return rule;
}

}  // namespace

std::string point_text(const Shape& shape, Point point) {
  const auto axes = axes_of(shape);
  const int index = point;
  const std::array<int, 3> at{index / (axes[1] * axes[2]), index / axes[2] % axes[1],
                              index % axes[2]};
  std::string text;
  for (std::size_t axis = 0; axis < written_axes(axes); ++axis) {
    text += coordinate(at[axis], axes[axis]);
  }
  return text;
}

std::string move_text(const Shape& shape, Move move) {
  return move.is_pass() ? std::string(kPass) : point_text(shape, move.point);
}

Move parse_move(const Shape& shape, std::string_view text) {
  if (text == kPass) {
    return Move::pass();
  }
  const auto axes = axes_of(shape);
  int point = 0;
  bool known = text.size() == written_axes(axes);
  for (std::size_t axis = 0; known && axis < axes.size(); ++axis) {
    const auto index = axis < text.size() ? index_of(text[axis], axes[axis]) : 0;
    known = index.has_value();
    point = point * axes[axis] + index.value_or(0);
  }
  if (!known) {
    throw_error(ErrorCode::invalid_argument,
                "{} is no move on a board of {}; a move is Pass or a point's coordinates, {}",
                in_quotes(text), shape_text(shape), rule_of_coordinates(shape));
  }
  return {static_cast<Point>(point)};
}

std::string header_text(const Shape& shape) {
  return fmt::format("[Board {}]\n\n", shape_text(shape));
}

std::string number_text(std::size_t moves_before) {
  return moves_before % 2 == 0 ? fmt::format("{}. ", moves_before / 2 + 1) : std::string();
}

std::string appended_text(const Shape& shape, std::size_t moves_before, Move move) {
  return number_text(moves_before) + move_text(shape, move) + (moves_before % 2 == 0 ? ' ' : '\n');
}

std::string result_text(int difference) {
  return fmt::format("; {}{}\n", difference > 0 ? "+" : "", difference);
}

std::string game_text(const Shape& shape, std::span<const Move> moves,
                      std::optional<int> difference) {
  std::string text = header_text(shape);
  for (std::size_t i = 0; i < moves.size(); ++i) {
    text += appended_text(shape, i, moves[i]);
  }
  if (difference) {
    if (text.back() == ' ') {
      text.back() = '\n';
    }
    text += result_text(*difference);
  }
  return text;
}

}  // namespace trigo
