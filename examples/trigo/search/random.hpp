// Random numbers that are the same on every platform for the same seed: the standard library's
// engines are, its distributions are not.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>

namespace trigo {

/// A seed for each of many things that are numbered, unrelated to its neighbours' (SplitMix64).
constexpr std::uint64_t seed_of(std::uint64_t seed, std::uint64_t number) noexcept {
  std::uint64_t bits = seed + (number + 1) * 0x9E3779B97F4A7C15U;
  bits = (bits ^ (bits >> 30U)) * 0xBF58476D1CE4E5B9U;
  bits = (bits ^ (bits >> 27U)) * 0x94D049BB133111EBU;
  return bits ^ (bits >> 31U);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// In [0, 1).
  double uniform() { return static_cast<double>(engine_() >> 11U) * 0x1p-53; }

  /// In [0, count), for counts that are small beside 2^32.
  std::size_t below(std::size_t count) { return ((engine_() >> 32U) * count) >> 32U; }

  /// Of the gamma distribution with this shape and scale 1 (Marsaglia and Tsang, 2000).
  double gamma(double shape) {
    if (shape < 1) {
      return gamma(shape + 1) * std::pow(1 - uniform(), 1 / shape);
    }
    const double d = shape - 1.0 / 3;
    const double c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal();
      const double v = std::pow(1 + c * x, 3);
      if (v > 0 && std::log(1 - uniform()) < x * x / 2 + d * (1 - v + std::log(v))) {
        return d * v;
      }
    }
  }

 private:
  /// Box and Muller's; the second number is not kept.
  double normal() {
    constexpr double kTurn = 6.283185307179586;
    return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(kTurn * uniform());
  }

  std::mt19937_64 engine_;
};

}  // namespace trigo
