// The box of points that a game is played on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trigo {

/// A point of a box: (x · Y + y) · Z + z, so that x, then y, then z is the order of points.
using Point = std::uint16_t;

/// Points per axis.
struct Shape {
  static constexpr int kMostPerAxis = 19;
  static constexpr std::size_t kMostPoints = 1024;

  int x = 5;
  int y = 5;
  int z = 1;

  [[nodiscard]] std::size_t points() const noexcept {
    return static_cast<std::size_t>(x) * static_cast<std::size_t>(y) * static_cast<std::size_t>(z);
  }
  bool operator==(const Shape&) const = default;
};

/// @throws kvcache::Error invalid_argument for an axis outside [1, 19] or more than 1,024 points
void check_shape(const Shape& shape);

/// Reads "5x5", "5x5x1" or "3x4x5"; an axis that is left out has one point.
/// @throws kvcache::Error invalid_argument
Shape parse_shape(std::string_view text);

/// "5x5" where Z is 1, else "5x5x3".
std::string shape_text(const Shape& shape);

/// Which points are neighbours: those that differ by 1 on one axis.
class Geometry {
 public:
  /// The one geometry of a shape; it lives as long as the program. Any thread may ask.
  /// @throws kvcache::Error as check_shape()
  static const Geometry& of(const Shape& shape);

  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::size_t points() const noexcept { return all_.size(); }

  /// All points, in order.
  [[nodiscard]] std::span<const Point> all() const noexcept { return all_; }

  [[nodiscard]] std::span<const Point> neighbours(Point point) const noexcept {
    return {neighbours_.data() + begins_[point], neighbours_.data() + begins_[point + 1U]};
  }

 private:
  explicit Geometry(const Shape& shape);

  Shape shape_;
  std::vector<Point> all_;
  std::vector<std::uint16_t> begins_;  // [points + 1], into neighbours_
  std::vector<Point> neighbours_;
};

}  // namespace trigo
