// The node `kvcache::FastGelu`: bias and activation of the MLP in one pass. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/tensor_access.hpp"

namespace kvcache::ops {

/// gelu(input + bias), tanh approximation; [..., n] and [n] to [..., n].
template <typename T>
class FastGeluKernel {
 public:
  explicit FastGeluKernel(const OrtKernelInfo* info);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  void compute(Ort::KernelContext& context) const;

  std::string name_;
};

/// The operator's signature for element type T on the CPU.
template <typename T>
class FastGeluOp : public Ort::CustomOpBase<FastGeluOp<T>, FastGeluKernel<T>, true> {
 public:
  static OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                                     void** kernel) {
    return status_of([&] { *kernel = new FastGeluKernel<T>(info); });
  }
  static const char* GetName() { return "FastGelu"; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return 2; }
  static ONNXTensorElementDataType GetInputType(std::size_t /*index*/) {
    return Ort::TypeToTensorType<T>::type;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return Ort::TypeToTensorType<T>::type;
  }
};

}  // namespace kvcache::ops
