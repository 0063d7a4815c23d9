// Random numbers of the device's element types, and what double precision makes of them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::test {

template <typename T>
T rounded(double value) {
  return T(static_cast<float>(value));
}

template <typename T>
double wide(T value) {
  return static_cast<double>(static_cast<float>(value));
}
inline double wide(double value) { return value; }

/// Half a unit in the last place of the result, and what float32 sums lose.
template <typename T>
constexpr double kError = 2e-6;
template <>
constexpr double kError<__half> = 1.2 / 2048;
template <>
constexpr double kError<__nv_bfloat16> = 1.2 / 256;

template <typename T>
std::vector<T> random_values(Random& random, std::int64_t count, double scale, double offset = 0) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) {
    value = rounded<T>(offset + scale * random.normal());
  }
  return values;
}

/// Rows of x normalized in double precision, or as they are; without `bias` where it is empty, by
/// the mean of their squares alone where `is_rms`.
template <typename X, typename T>
std::vector<double> normalized(const std::vector<X>& x, const std::vector<T>& weight,
                               const std::vector<T>& bias, std::int64_t inputs, bool norm,
                               double epsilon, bool is_rms = false) {
  std::vector<double> result(x.size());
  const auto size = static_cast<std::size_t>(inputs);
  for (std::size_t row = 0; row < x.size(); row += size) {
    double mean = 0;
    double variance = 0;
    for (std::size_t i = 0; i < size; ++i) {
      mean += is_rms ? 0 : wide(x[row + i]) / static_cast<double>(inputs);
    }
    for (std::size_t i = 0; i < size; ++i) {
      variance += std::pow(wide(x[row + i]) - mean, 2) / static_cast<double>(inputs);
    }
    for (std::size_t i = 0; i < size; ++i) {
      const double value = wide(x[row + i]);
      const double shift = bias.empty() ? 0 : wide(bias[i]);
      result[row + i] =
          norm ? (value - mean) / std::sqrt(variance + epsilon) * wide(weight[i]) + shift : value;
    }
  }
  return result;
}

}  // namespace kvcache::test
