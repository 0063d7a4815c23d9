// Matrices of small unsigned integers, the same on both devices.
#pragma once

#include <cstdint>

#include "base/float16.hpp"
#include "base/rounding.hpp"
#include "kernels/panels.hpp"

namespace kvcache::kernels {

/// A matrix [inputs, outputs] of small unsigned integers (docs/MODEL_FILE.md). `block_size`
/// consecutive inputs of an output share a scale: weight = scale · (value − zero point), or with
/// minimums scale · value + minimum. Inputs are filled up to whole blocks, outputs to whole panels.
struct QuantizedWeight {
  static constexpr std::int64_t kGroupInputs = 4;  // side by side: what one integer product sums
  static constexpr std::int64_t kLargestBlock = 256;

  const std::uint8_t* values = nullptr;  // [panels, groups(), kPanelColumns, kGroupInputs]
  const Float16* scales = nullptr;       // [panels, blocks(), scale_rows(), kPanelColumns]
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t block_size = 0;  // 16, 32, 64, 128 or 256
  std::int64_t bits = 8;      // 8, or 4: a byte then has a value of this group and one of the next
  bool minimums = false;      // of 4 bits: a block's minimum lies behind its scale
  std::int64_t matrices = 1;  // 2: gate and up, each of such a size; their panels take turns

  [[nodiscard]] constexpr std::int64_t panels() const { return matrices * panel_count(outputs); }
  [[nodiscard]] constexpr std::int64_t blocks() const { return divide_up(inputs, block_size); }
  [[nodiscard]] constexpr std::int64_t padded_inputs() const { return blocks() * block_size; }
  [[nodiscard]] constexpr std::int64_t groups() const {
    return padded_inputs() * bits / 8 / kGroupInputs;
  }
  [[nodiscard]] constexpr std::int64_t panel_bytes() const {
    return groups() * kPanelColumns * kGroupInputs;
  }
  [[nodiscard]] constexpr std::int64_t scale_rows() const { return minimums ? 2 : 1; }
  [[nodiscard]] constexpr std::int64_t panel_scales() const {
    return blocks() * scale_rows() * kPanelColumns;
  }
  [[nodiscard]] constexpr std::int32_t zero_point() const {
    return minimums ? 0 : bits == 8 ? 128 : 8;
  }
};

/// What a product computes with, after the values of MatMulNBits' attribute of this name.
enum class AccuracyLevel : std::int64_t {
  float32 = 1,  // weights are dequantised
  int8 = 4,     // x is rounded to int8, a scale for each token and block; sums of a block are exact
};

}  // namespace kvcache::kernels
