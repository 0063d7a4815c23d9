// The weight of 8 or 4 bits of a node, with its scales and attributes.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "kernels/cpu/quantized_cpu.hpp"
#include "ort/weight_op.hpp"

namespace kvcache::ort {

/// The weight of a node, its scales (the last input) and the attributes `bits` and `block_size`.
class KeptQuantizedWeight {
 public:
  /// @throws Ort::Exception where an attribute is missing or has a value that is not supported
  KeptQuantizedWeight(const OrtKernelInfo* info, weights::WeightStore& weights,
                      const std::string& node, std::size_t weight_input, std::size_t scales_input);

  /// The weight as a matrix [inputs, outputs].
  /// @throws Ort::Exception where the tensors of this call have other shapes
  [[nodiscard]] kernels::QuantizedWeight matrix(const Ort::KernelContext& context,
                                                const std::string& node, std::int64_t inputs,
                                                std::int64_t outputs) const;

  /// As config.json names it.
  [[nodiscard]] const char* type_name() const { return bits_ == 8 ? "int8" : "int4"; }

 private:
  std::size_t weight_input_;
  std::size_t scales_input_;
  const std::uint8_t* values_;  // null where it is no constant
  const Float16* scales_;       // the same
  std::int64_t block_size_;
  std::int64_t bits_;
};

}  // namespace kvcache::ort
