// Matrices of 8 and 4 bits on the device, and how their products round what they multiply with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/quantized_weight.hpp"
#include "support/gpu.hpp"
#include "support/quantized_case.hpp"

namespace kvcache::test {

/// A matrix on the device.
class DeviceWeight {
 public:
  explicit DeviceWeight(const QuantizedCase& of)
      : bytes_(of.bytes()), scales_(of.scales()), view_(of.view()) {
    view_.values = bytes_.data();
    view_.scales = scales_.data();
  }
  [[nodiscard]] const kernels::QuantizedWeight& view() const { return view_; }

 private:
  DeviceArray<std::uint8_t> bytes_;
  DeviceArray<Float16> scales_;
  kernels::QuantizedWeight view_;
};

/// What a kernel multiplies: a token's normalized inputs, rounded block by block where the accuracy
/// is int8.
inline std::vector<double> multiplied(const std::vector<double>& inputs, std::int64_t block_size,
                                      kernels::AccuracyLevel accuracy) {
  if (accuracy == kernels::AccuracyLevel::float32) {
    return inputs;
  }
  std::vector<double> result(inputs.size());
  for (std::size_t first = 0; first < inputs.size(); first += index(block_size)) {
    const std::size_t end = std::min(first + index(block_size), inputs.size());
    double largest = 1e-30;
    for (std::size_t i = first; i < end; ++i) {
      largest = std::max(largest, std::abs(inputs[i]));
    }
    for (std::size_t i = first; i < end; ++i) {
      result[i] = std::nearbyint(inputs[i] * 127 / largest) * largest / 127;
    }
  }
  return result;
}

}  // namespace kvcache::test
