// What nodes with weights have in common.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <type_traits>

#include "ops/tensor_access.hpp"
#include "ops/weight_store.hpp"

namespace kvcache::ops {

/// The store's copy of a node's weight, input `index`; null when that is no constant.
template <typename W>
const W* kept_weight(const OrtKernelInfo* info, WeightStore& weights, std::size_t index) {
  int is_constant = 0;
  const Ort::ConstValue weight =
      Ort::ConstKernelInfo(info).GetTensorConstantInput(index, &is_constant);
  if (is_constant == 0) {
    return nullptr;
  }
  return static_cast<const W*>(weights.keep(
      weight.GetTensorRawData(), weight.GetTensorTypeAndShapeInfo().GetElementCount() * sizeof(W)));
}

/// The signature of a node on the CPU whose input kWeightInput is a weight of Kernel::Weight, with
/// one output and a first input whose types the kernel names; the last input of a node with a
/// quantised weight are its scales, of float16; other inputs are float32.
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
    return index == 0                      ? Kernel::kFirstInputType
           : index == Kernel::kWeightInput ? Ort::TypeToTensorType<typename Kernel::Weight>::type
           : kIsQuantized && index + 1 == Kernel::kInputs ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                                          : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return Kernel::kOutputType;
  }

 private:
  static constexpr bool kIsQuantized = std::is_same_v<typename Kernel::Weight, std::uint8_t>;

  WeightStore& weights_;
};

}  // namespace kvcache::ops
