// What nodes with weights have in common. float32 only: models of other types run the functions'
// bodies.
#pragma once

#include <onnxruntime_cxx_api.h>

#include "ops/tensor_access.hpp"
#include "ops/weight_store.hpp"

namespace kvcache::ops {

/// The store's copy of a node's weight, its input 1; null when that is no constant.
inline const float* kept_weight(const OrtKernelInfo* info, WeightStore& weights) {
  int is_constant = 0;
  const Ort::ConstValue weight = Ort::ConstKernelInfo(info).GetTensorConstantInput(1, &is_constant);
  if (is_constant == 0) {
    return nullptr;
  }
  return weights.keep(weight.GetTensorData<float>(),
                      weight.GetTensorTypeAndShapeInfo().GetElementCount());
}

/// The signature of a node on the CPU whose input 1 is a weight, with one float32 output, and
/// inputs that are float32 but for the first one, whose type the kernel names.
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
    return index == 0 ? Kernel::kFirstInputType : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

 private:
  WeightStore& weights_;
};

}  // namespace kvcache::ops
