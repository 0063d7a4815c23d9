// The node `HiddenStates` on the CPU: the final norm of the tokens whose logits are asked for, as
// an output of the model. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ort/node_resources.hpp"

namespace kvcache::ort {

enum HiddenStatesInput : std::size_t {
  kHiddenX,
  kHiddenNormWeight,
  kHiddenNormBias,
  kHiddenPositions,
  kHiddenStatesInputs
};

/// x [batch, seq_len, size] to [batch, num_logits, size].
class HiddenStatesKernel {
 public:
  static constexpr const char* kName = "HiddenStates";

  /// @throws Ort::Exception where an attribute or a weight is not what the contract says
  HiddenStatesKernel(const OrtKernelInfo* info, const NodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  kernels::TokenNormArgs norm_;
  const ThreadPool& threads_;
};

/// The operator's signature.
class HiddenStatesOp : public Ort::CustomOpBase<HiddenStatesOp, HiddenStatesKernel, true> {
 public:
  explicit HiddenStatesOp(const NodeResources& resources) : resources_(resources) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] { *kernel = new HiddenStatesKernel(info, resources_); });
  }
  static const char* GetName() { return HiddenStatesKernel::kName; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return kHiddenStatesInputs; }
  static ONNXTensorElementDataType GetInputType(std::size_t input) {
    return input == kHiddenPositions ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
                                     : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t input) {
    return input == kHiddenNormBias ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*output*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

 private:
  NodeResources resources_;
};

}  // namespace kvcache::ort
