// A random matrix of 8 or 4 bits, and what docs/MODEL_FILE.md says that it is.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/float16.hpp"
#include "kernels/quantized_weight.hpp"
#include "support/random_cases.hpp"

namespace kvcache::test {

inline std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

/// A random weight, packed, and what docs/MODEL_FILE.md says that it is.
class QuantizedCase {
 public:
  QuantizedCase(Random& random, std::int64_t inputs, std::int64_t outputs,
                std::int64_t matrices = 1)
      : QuantizedCase(random, random_kind(random, inputs, outputs, matrices), 0.02F) {}

  /// Of the sizes and the type that `kind` says; scales are about `scale`.
  QuantizedCase(Random& random, const kernels::QuantizedWeight& kind, float scale) : view_(kind) {
    bytes_.resize(index(view_.panels() * view_.panel_bytes()));
    std::ranges::generate(bytes_,
                          [&] { return static_cast<std::uint8_t>(random.integer(0, 255)); });
    scales_.resize(index(view_.panels() * view_.panel_scales()));
    std::ranges::generate(scales_, [&] { return Float16(scale * random.normal()); });
    view_.values = bytes_.data();
    view_.scales = scales_.data();
  }

  [[nodiscard]] const kernels::QuantizedWeight& view() const { return view_; }
  [[nodiscard]] const std::vector<std::uint8_t>& bytes() const { return bytes_; }
  [[nodiscard]] const std::vector<Float16>& scales() const { return scales_; }

  /// Value less zero point.
  [[nodiscard]] int value(std::int64_t input, std::int64_t output, std::int64_t matrix = 0) const {
    const std::int64_t group = view_.bits == 8 ? input / 4 : input / 8;
    const std::int64_t byte =
        ((panel(output, matrix) * view_.groups() + group) * 64 + output % 64) * 4 + input % 4;
    const int found = bytes_[index(byte)];
    if (view_.bits == 8) {
      return found - 128;
    }
    return (input % 8 < 4 ? found % 16 : found / 16) - (view_.minimums ? 0 : 8);
  }
  [[nodiscard]] double scale(std::int64_t block, std::int64_t output,
                             std::int64_t matrix = 0) const {
    return scale_row(block * view_.scale_rows(), output, matrix);
  }
  [[nodiscard]] double minimum(std::int64_t block, std::int64_t output,
                               std::int64_t matrix = 0) const {
    return view_.minimums ? scale_row(block * 2 + 1, output, matrix) : 0;
  }
  [[nodiscard]] double at(std::int64_t input, std::int64_t output, std::int64_t matrix = 0) const {
    const std::int64_t block = input / view_.block_size;
    return value(input, output, matrix) * scale(block, output, matrix) +
           minimum(block, output, matrix);
  }

 private:
  static kernels::QuantizedWeight random_kind(Random& random, std::int64_t inputs,
                                              std::int64_t outputs, std::int64_t matrices) {
    constexpr std::array<std::int64_t, 5> kBlockSizes{16, 32, 64, 128, 256};
    kernels::QuantizedWeight kind;
    kind.inputs = inputs;
    kind.outputs = outputs;
    kind.matrices = matrices;
    kind.bits = random.chance(0.4) ? 8 : 4;
    kind.minimums = kind.bits == 4 && random.chance(0.5);
    kind.block_size = random.pick(kBlockSizes);
    return kind;
  }

  [[nodiscard]] std::int64_t panel(std::int64_t output, std::int64_t matrix) const {
    return output / 64 * view_.matrices + matrix;
  }
  [[nodiscard]] double scale_row(std::int64_t row, std::int64_t output, std::int64_t matrix) const {
    const std::int64_t rows = view_.blocks() * view_.scale_rows();
    return static_cast<float>(
        scales_[index((panel(output, matrix) * rows + row) * 64 + output % 64)]);
  }

  std::vector<std::uint8_t> bytes_;
  std::vector<Float16> scales_;
  kernels::QuantizedWeight view_;
};

}  // namespace kvcache::test
