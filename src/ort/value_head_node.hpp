// The node `ValueHead` on the CPU: a number for each token whose logits are asked for, as an output
// of the model. See docs/MODEL_FILE.md.
#pragma once

#include <hwy/aligned_allocator.h>
#include <onnxruntime_cxx_api.h>

#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/value_head_cpu.hpp"
#include "ort/node_resources.hpp"

namespace kvcache::ort {

enum ValueHeadInput : std::size_t {
  kValueX,
  kValueNormWeight,
  kValueNormBias,
  kValuePositions,
  kValueOutputWeight,
  kValueOutputBias,
  kValueLayers,  // four of each layer
  kValueLayerInputs = 4,
  kValueInputs = kValueLayers + kValueLayerInputs * kernels::kMostValueLayers
};

/// Of the products; the first is what a missing attribute means.
inline constexpr std::pair<const char*, kernels::ValueActivation> kValueActivations[]{
    {"identity", kernels::ValueActivation::identity},
    {"relu", kernels::ValueActivation::relu},
    {"gelu_erf", kernels::ValueActivation::gelu_erf},
    {"tanh", kernels::ValueActivation::tanh},
    {"sigmoid", kernels::ValueActivation::sigmoid}};

/// x [batch, seq_len, size] to [batch, num_logits, 1].
class ValueHeadKernel {
 public:
  static constexpr const char* kName = "ValueHead";

  /// @throws Ort::Exception where an attribute or a weight is not what the contract says
  ValueHeadKernel(const OrtKernelInfo* info, const NodeResources& resources);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void add_layer(const OrtKernelInfo* info, std::size_t first_input,
                 const NodeResources& resources);

  std::string name_;
  kernels::ValueHead head_;
  std::vector<hwy::AlignedFreeUniquePtr<float[]>> panels_;  // of the layers
  const ThreadPool& threads_;
};

/// The operator's signature.
class ValueHeadOp : public Ort::CustomOpBase<ValueHeadOp, ValueHeadKernel, true> {
 public:
  explicit ValueHeadOp(const NodeResources& resources) : resources_(resources) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] { *kernel = new ValueHeadKernel(info, resources_); });
  }
  static const char* GetName() { return ValueHeadKernel::kName; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return kValueInputs; }
  static ONNXTensorElementDataType GetInputType(std::size_t input) {
    return input == kValuePositions ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
                                    : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t input) {
    return input == kValueNormBias || input >= kValueLayers ? INPUT_OUTPUT_OPTIONAL
                                                            : INPUT_OUTPUT_REQUIRED;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*output*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

 private:
  NodeResources resources_;
};

}  // namespace kvcache::ort
