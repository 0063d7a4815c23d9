// The node `HiddenStates` on CUDA. See docs/MODEL_FILE.md.
#pragma once

#include "ort/cuda/node_access.hpp"
#include "ort/cuda/node_norm.hpp"
#include "ort/hidden_states_node.hpp"

namespace kvcache::ort {

template <typename T>
class HiddenStatesNode {
 public:
  static constexpr const char* kName = HiddenStatesKernel::kName;
  static constexpr auto kElement = CudaType<T>::kElement;
  static constexpr std::array kInputs{kElement, kElement, kElement,
                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64};
  static constexpr std::array kOutputs{kElement};
  static constexpr bool is_optional(std::size_t input) { return input == kHiddenNormBias; }

  HiddenStatesNode(const OrtKernelInfo* info, const CudaNodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  NodeNorm norm_;
};

}  // namespace kvcache::ort
