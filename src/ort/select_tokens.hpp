// The node `kvcache::SelectTokens`: the tokens whose logits are asked for. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ort/tensor_access.hpp"

namespace kvcache::ort {

/// Copies the chosen positions of [batch, seq_len, n] to [batch, num_logits, n]; all when none are
/// given.
template <typename T>
class SelectTokensKernel {
 public:
  explicit SelectTokensKernel(const OrtKernelInfo* info);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void compute(Ort::KernelContext& context);

  std::string name_;
};

/// The operator's signature for element type T on the CPU.
template <typename T>
class SelectTokensOp : public Ort::CustomOpBase<SelectTokensOp<T>, SelectTokensKernel<T>, true> {
 public:
  static OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                                     void** kernel) {
    return status_of([&] { *kernel = new SelectTokensKernel<T>(info); });
  }
  static const char* GetName() { return "SelectTokens"; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return 2; }
  static ONNXTensorElementDataType GetInputType(std::size_t index) {
    return index == 0 ? kElementType<T> : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) { return kElementType<T>; }
};

}  // namespace kvcache::ort
