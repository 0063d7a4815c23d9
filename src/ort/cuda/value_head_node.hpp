// The node `ValueHead` on CUDA. See docs/MODEL_FILE.md.
#pragma once

#include <array>

#include "kernels/cuda/value_head_cuda.hpp"
#include "ort/cuda/node_access.hpp"
#include "ort/cuda/node_norm.hpp"
#include "ort/cuda/told_node.hpp"
#include "ort/value_head_node.hpp"

namespace kvcache::ort {

template <typename T>
class ValueHeadNode : private ToldNode {
 public:
  static constexpr const char* kName = ValueHeadKernel::kName;
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr auto kInputs = [] {
    std::array<ONNXTensorElementDataType, kValueInputs> types{};
    types.fill(kElement);
    types[kValuePositions] = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    return types;
  }();
  static constexpr std::array kOutputs{kElement};
  static constexpr bool is_optional(std::size_t input) {
    return input == kValueNormBias || input >= kValueLayers;
  }

  /// @throws Ort::Exception where an attribute or a weight is not what the contract says
  ValueHeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  struct Layer {
    std::size_t first_input;
    std::int64_t outputs;
    bool norm;
  };

  void add_layer(const OrtKernelInfo* info, std::size_t first_input, std::int64_t inputs);

  NodeNorm norm_;
  kernels::ValueHeadCudaArgs<T> fixed_;  // what is the same in every run and no address
  std::vector<Layer> layers_;
};

}  // namespace kvcache::ort
