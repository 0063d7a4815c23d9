// What nodes with weights have in common.
#pragma once

#include <onnxruntime_cxx_api.h>

#include "ops/tensor_access.hpp"
#include "ops/weight_store.hpp"

namespace kvcache::ops {

/// The store's copy of a node's weight, its input 1; null when that is no constant.
template <typename W>
const W* kept_weight(const OrtKernelInfo* info, WeightStore& weights) {
  int is_constant = 0;
  const Ort::ConstValue weight = Ort::ConstKernelInfo(info).GetTensorConstantInput(1, &is_constant);
  if (is_constant == 0) {
    return nullptr;
  }
  return static_cast<const W*>(weights.keep(
      weight.GetTensorRawData(), weight.GetTensorTypeAndShapeInfo().GetElementCount() * sizeof(W)));
}

/// The signature of a node on the CPU whose input 1 is a weight of Kernel::Weight, with one output
/// and a first input whose types the kernel names; other inputs are float32.
template <typename Kernel>
class WeightOp : public Ort::CustomOpBase<WeightOp<Kernel>, Kernel, true> {
 public:
  explicit WeightOp(WeightStore& weights) : weights_(weights) {}

  OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                              void** kernel) const {
    return status_of([&] { *kernel = new Kernel(info, weights_); });
  }
  static const char* GetName() { return Kernel::kName; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return Kernel::kInputs; }
  static ONNXTensorElementDataType GetInputType(std::size_t index) {
    return index == 0   ? Kernel::kFirstInputType
           : index == 1 ? Ort::TypeToTensorType<typename Kernel::Weight>::type
                        : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return Kernel::kOutputType;
  }

 private:
  WeightStore& weights_;
};

}  // namespace kvcache::ops
