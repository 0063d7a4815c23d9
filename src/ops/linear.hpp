// The nodes `kvcache::Linear`, `LinearGelu` and `Head`: all products with weights. See
// docs/MODEL_FILE.md. float32 only: models of other types run the functions' bodies.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/cpu/linear_cpu.hpp"
#include "ops/tensor_access.hpp"

namespace kvcache::ops {

/// activation(x · weight + bias): [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <Activation kActivation>
class LinearKernel {
 public:
  static constexpr const char* kName = kActivation == Activation::none ? "Linear" : "LinearGelu";
  static constexpr std::size_t kInputs = 3;  // x, weight, bias

  explicit LinearKernel(const OrtKernelInfo* info) : name_(node_name(kName, info)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
};

/// x · weightᵀ: [batch, num_logits, inputs] to [batch, num_logits, outputs].
class HeadKernel {
 public:
  static constexpr const char* kName = "Head";
  static constexpr std::size_t kInputs = 2;  // x, weight

  explicit HeadKernel(const OrtKernelInfo* info) : name_(node_name(kName, info)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
};

/// The signature of a node on the CPU with float32 inputs and one float32 output.
template <typename Kernel>
class FloatOp : public Ort::CustomOpBase<FloatOp<Kernel>, Kernel, true> {
 public:
  static OrtStatusPtr CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                                     void** kernel) {
    return status_of([&] { *kernel = new Kernel(info); });
  }
  static const char* GetName() { return Kernel::kName; }
  static const char* GetExecutionProviderType() { return "CPUExecutionProvider"; }
  static std::size_t GetInputTypeCount() { return Kernel::kInputs; }
  static ONNXTensorElementDataType GetInputType(std::size_t /*index*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
};

}  // namespace kvcache::ops
