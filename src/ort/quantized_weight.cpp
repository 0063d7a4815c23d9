#include "ort/quantized_weight.hpp"

#include <fmt/format.h>

namespace kvcache::ort {

KeptQuantizedWeight::KeptQuantizedWeight(const OrtKernelInfo* info, weights::WeightStore& weights,
                                         const std::string& node, std::size_t weight_input,
                                         std::size_t scales_input)
    : weight_input_(weight_input),
      scales_input_(scales_input),
      values_(kept_weight<std::uint8_t>(info, weights, weight_input)),
      scales_(kept_weight<Float16>(info, weights, scales_input)),
      block_size_(Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("block_size")),
      bits_(Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("bits")) {
  const bool power_of_two = (block_size_ & (block_size_ - 1)) == 0;
  if (block_size_ < 16 || block_size_ > kernels::QuantizedWeight::kLargestBlock || !power_of_two) {
    fail(fmt::format("{}: block_size is {}, must be 16, 32, 64, 128 or 256", node, block_size_));
  }
  if (bits_ != 8 && bits_ != 4) {
    fail(fmt::format("{}: bits is {}, must be 8 or 4", node, bits_));
  }
}

kernels::QuantizedWeight KeptQuantizedWeight::matrix(const Ort::KernelContext& context,
                                                     const std::string& node, std::int64_t inputs,
                                                     std::int64_t outputs) const {
  const auto values = context.GetInput(weight_input_);
  const auto scales = context.GetInput(scales_input_);
  kernels::QuantizedWeight weight;
  weight.inputs = inputs;
  weight.outputs = outputs;
  weight.block_size = block_size_;
  weight.bits = bits_;
  check(shape_of(values) == Shape{weight.panels(), weight.groups(), kernels::kPanelColumns,
                                  kernels::QuantizedWeight::kGroupInputs},
        node, "weight must be packed: [ceil(outputs / 64), padded inputs · bits / 32, 64, 4]");
  check(shape_of(scales) == Shape{weight.panels(), weight.blocks(), kernels::kPanelColumns}, node,
        "weight_scales must be [ceil(outputs / 64), ceil(inputs / block_size), 64]");
  weight.values = values_ != nullptr ? values_ : raw_data<std::uint8_t>(values);
  weight.scales = scales_ != nullptr ? scales_ : raw_data<Float16>(scales);
  return weight;
}

}  // namespace kvcache::ort
