// The nodes `kvcache::Linear`, `LinearGelu` and `Head`: all products with weights. See
// docs/MODEL_FILE.md. float32 only: models of other types run the functions' bodies.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/cpu/linear_cpu.hpp"
#include "ops/tensor_access.hpp"
#include "ops/weight_store.hpp"

namespace kvcache::ops {

/// The store's copy of a node's weight, its input 1; null when that is no constant.
const float* kept_weight(const OrtKernelInfo* info, WeightStore& weights);

/// activation(x · weight + bias): [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <Activation kActivation>
class LinearKernel {
 public:
  static constexpr const char* kName = kActivation == Activation::none ? "Linear" : "LinearGelu";
  static constexpr std::size_t kInputs = 3;  // x, weight, bias

  LinearKernel(const OrtKernelInfo* info, WeightStore& weights)
      : name_(node_name(kName, info)), weight_(kept_weight(info, weights)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  const float* weight_;
};

/// x · weightᵀ: [batch, num_logits, inputs] to [batch, num_logits, outputs].
class HeadKernel {
 public:
  static constexpr const char* kName = "Head";
  static constexpr std::size_t kInputs = 2;  // x, weight

  HeadKernel(const OrtKernelInfo* info, WeightStore& weights)
      : name_(node_name(kName, info)), weight_(kept_weight(info, weights)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  const float* weight_;
};

/// The signature of a node on the CPU with a weight, float32 inputs and one float32 output.
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
  static ONNXTensorElementDataType GetInputType(std::size_t /*index*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static std::size_t GetOutputTypeCount() { return 1; }
  static ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

 private:
  WeightStore& weights_;
};

}  // namespace kvcache::ops
