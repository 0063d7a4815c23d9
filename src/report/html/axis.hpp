// Where a value lies along a chart's axis, and the values that are written beside it.
#pragma once

#include <string>
#include <vector>

#include "report/html/figure.hpp"

namespace kvcache::report::html {

enum class Scale { linear, log };

class Axis {
 public:
  /// From zero, or from a round value below `least` where all values are far from zero, to a round
  /// one above `most`.
  static Axis linear(double least, double most, Unit unit, bool from_zero = true);
  /// From `least` to `most`, with round values within.
  static Axis between(double least, double most, Unit unit);
  /// Powers of two between positive values.
  static Axis powers_of_two(double least, double most, Unit unit);

  /// 0 at the beginning, 1 at the end.
  [[nodiscard]] double position(double value) const;
  [[nodiscard]] const std::vector<double>& ticks() const noexcept { return ticks_; }
  [[nodiscard]] Scale scale() const noexcept { return scale_; }
  [[nodiscard]] Unit unit() const noexcept { return unit_; }

 private:
  Scale scale_ = Scale::linear;
  Unit unit_ = Unit::number;
  double begin_ = 0;
  double end_ = 1;
  std::vector<double> ticks_;
};

/// A position as a percentage of a drawing: "43.2100%".
std::string percent(double position);

}  // namespace kvcache::report::html
