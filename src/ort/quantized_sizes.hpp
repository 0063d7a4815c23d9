// What a node says of its quantised weight, on both devices. See docs/MODEL_FILE.md.
#pragma once

#include <string>

#include "kernels/quantized_weight.hpp"
#include "ort/node_info.hpp"

namespace kvcache::ort {

/// The name of a weight's type, in config.json's terms.
inline const char* quantized_name(const kernels::QuantizedWeight& weight) {
  return weight.bits == 8 ? "int8" : weight.minimums ? "uint4" : "int4";
}

/// Reads the attributes; the weight is without its data.
/// @throws Ort::Exception where one is not what the contract says, or the tensors' shapes are not
/// what they say
inline kernels::QuantizedWeight quantized_sizes(const OrtKernelInfo* info, const std::string& node,
                                                std::int64_t matrices, const Shape& values,
                                                const Shape& scales) {
  const Ort::ConstKernelInfo attributes(info);
  kernels::QuantizedWeight weight;
  weight.inputs = attributes.GetAttribute<std::int64_t>("inputs");
  weight.outputs = attributes.GetAttribute<std::int64_t>("outputs");
  weight.block_size = attributes.GetAttribute<std::int64_t>("block_size");
  weight.bits = attributes.GetAttribute<std::int64_t>("bits");
  weight.minimums = attribute_or<std::int64_t>(info, "minimums", 0) != 0;
  weight.matrices = matrices;
  const std::int64_t block_size = weight.block_size;
  if (block_size < 16 || block_size > kernels::QuantizedWeight::kLargestBlock ||
      (block_size & (block_size - 1)) != 0) {
    fail(fmt::format("{}: block_size is {}, must be 16, 32, 64, 128 or 256", node, block_size));
  }
  if (weight.bits != 8 && weight.bits != 4) {
    fail(fmt::format("{}: bits is {}, must be 8 or 4", node, weight.bits));
  }
  check(weight.bits == 4 || !weight.minimums, node, "minimums are of blocks of 4 bits");
  check(weight.inputs > 0 && weight.outputs > 0, node, "inputs and outputs must be positive");
  check(values == Shape{weight.panels(), weight.groups(), kernels::kPanelColumns,
                        kernels::QuantizedWeight::kGroupInputs},
        node,
        "weight must be packed: [ceil(outputs / 64), padded inputs · bits / 32, 64, 4], twice as "
        "many panels where it is gated");
  check(scales ==
            Shape{weight.panels(), weight.blocks() * weight.scale_rows(), kernels::kPanelColumns},
        node,
        "weight_scales must be [ceil(outputs / 64), ceil(inputs / block_size), 64], twice as many "
        "panels where it is gated, and twice as many blocks with minimums");
  return weight;
}

}  // namespace kvcache::ort
