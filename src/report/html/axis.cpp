#include "report/html/axis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kvcache::report::html {
namespace {

constexpr double kMostTicks = 5;

/// 1, 2, 2.5 or 5 times a power of ten, so that at most kMostTicks of them cover `length`.
double round_step(double length) {
  const double power = std::pow(10.0, std::floor(std::log10(length / kMostTicks)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power * kMostTicks >= length * (1 - 1e-9)) {
      return factor * power;
    }
  }
  return 10 * power;
}

}  // namespace

Axis Axis::linear(double least, double most, Unit unit, bool from_zero) {
  Axis axis;
  axis.unit_ = unit;
  const double first = from_zero ? std::min(0.0, least) : least;
  const double length = most - first;
  // What differs in the last places only is one value: ticks between would be one number, too.
  constexpr double kOneValue = 1e-9;
  const double size = std::max(std::abs(first), std::abs(most));
  const bool one_value = !(length > kOneValue * size) || size < 1e-250;
  const double step = round_step(one_value ? std::max(size, 1.0) : length);
  const auto begin = std::floor(first / step + 1e-9);
  auto end = std::ceil(most / step - 1e-9);
  if (end <= begin) {
    end = begin + 1;
  }
  axis.begin_ = begin * step;
  axis.end_ = end * step;
  for (double tick = begin; tick <= end + 0.5; ++tick) {
    axis.ticks_.push_back(tick * step);
  }
  return axis;
}

Axis Axis::between(double least, double most, Unit unit) {
  Axis axis = linear(least, most, unit, false);
  axis.begin_ = least;
  axis.end_ = most > least ? most : least + std::max(1.0, std::abs(least));
  std::erase_if(axis.ticks_, [&](double tick) { return tick < axis.begin_ || tick > axis.end_; });
  return axis;
}

Axis Axis::powers_of_two(double least, double most, Unit unit) {
  Axis axis;
  axis.unit_ = unit;
  axis.scale_ = Scale::log;
  axis.begin_ = least;
  axis.end_ = most > least ? most : least * 2;
  const double first = std::ceil(std::log2(axis.begin_) - 1e-9);
  const double last = std::floor(std::log2(axis.end_) + 1e-9);
  const double every = std::max(1.0, std::ceil((last - first + 1) / (kMostTicks + 3)));
  for (double power = first; power <= last + 0.5; power += every) {
    axis.ticks_.push_back(std::exp2(power));
  }
  constexpr double kRoomForWords = 0.1;
  const bool room = axis.ticks_.empty() || axis.position(axis.ticks_.back()) < 1 - kRoomForWords;
  if (room && most > least) {  // 1,000 beside 512
    axis.ticks_.push_back(most);
  }
  return axis;
}

double Axis::position(double value) const {
  return scale_ == Scale::log
             ? (std::log2(value) - std::log2(begin_)) / (std::log2(end_) - std::log2(begin_))
             : (value - begin_) / (end_ - begin_);
}

std::string percent(double position) { return fmt::format("{:.4f}%", position * 100); }

}  // namespace kvcache::report::html
