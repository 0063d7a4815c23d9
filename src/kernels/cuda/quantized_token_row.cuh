// A row of a quantised embedding, as a kernel needs it that has one token.
#pragma once

#include "kernels/cuda/decoder_block.cuh"
#include "kernels/panels.hpp"
#include "kernels/quantized_weight.hpp"

namespace kvcache::kernels {

/// The row of a token; of one that does not exist all elements are NaN.
class QuantizedTokenRow {
 public:
  __device__ QuantizedTokenRow(const QuantizedWeight& table, std::int64_t id, float scale)
      : table_(table), exists_(id >= 0 && id < table.outputs), scale_(scale) {
    const std::int64_t row = exists_ ? id : 0;
    values_ = table.values + row / kPanelOutputs * table.panel_bytes() + row % kPanelOutputs * 4;
    scales_ = reinterpret_cast<const __half*>(table.scales) +
              row / kPanelOutputs * table.panel_scales() + row % kPanelOutputs;
  }

  /// Eight neighbouring elements from `at` on.
  [[nodiscard]] __device__ Octet octet(int at) const {
    const Eight eight(*this, at);
    Octet octet;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      octet.values[i] = eight.element(i < 4 ? eight.low : eight.high, i % 4);
    }
    return octet;
  }

  /// Two neighbouring elements.
  [[nodiscard]] __device__ float2 pair(int pair) const {
    const Eight eight(*this, 2 * pair / 8 * 8);
    const unsigned four = pair % 4 < 2 ? eight.low : eight.high;
    const int first = pair % 2 * 2;
    return {eight.element(four, first), eight.element(four, first + 1)};
  }

 private:
  static constexpr int kPanelOutputs = static_cast<int>(kPanelColumns);

  struct Eight {
    unsigned low;  // a byte each
    unsigned high;
    float scale;
    float minimum;
    int zero_point;

    __device__ Eight(const QuantizedTokenRow& row, int at) {
      constexpr unsigned kLower = 0x0F0F0F0FU;
      const QuantizedWeight& table = row.table_;
      const int words = static_cast<int>(table.bits) / 4;
      const auto word = [&](int i) {
        return __ldg(reinterpret_cast<const unsigned*>(
            row.values_ + std::int64_t{at / 8 * words + i} * (kPanelOutputs * 4)));
      };
      const unsigned first = word(0);
      low = words == 2 ? first : first & kLower;
      high = words == 2 ? word(1) : first >> 4U & kLower;
      const auto rows = static_cast<int>(table.scale_rows());
      const __half* const scales =
          row.scales_ + at / static_cast<int>(table.block_size) * rows * kPanelOutputs;
      scale = row.exists_ ? row.scale_ * __half2float(scales[0]) : nanf("");
      minimum = rows > 1 ? row.scale_ * __half2float(scales[kPanelOutputs]) : 0.0F;
      zero_point = table.zero_point();
    }
    [[nodiscard]] __device__ float element(unsigned four, int i) const {
      const auto value = static_cast<int>(four >> 8U * static_cast<unsigned>(i) & 0xFFU);
      return fmaf(static_cast<float>(value - zero_point), scale, minimum);
    }
  };

  const QuantizedWeight& table_;
  bool exists_;
  float scale_;
  const std::uint8_t* values_;
  const __half* scales_;
};

}  // namespace kvcache::kernels
