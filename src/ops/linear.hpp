// The nodes `kvcache::Linear`, `LinearGelu` and `Head`: all products with weights, which may be
// narrower than the float32 they compute in. See
// docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/cpu/linear_cpu.hpp"
#include "ops/weight_op.hpp"

namespace kvcache::ops {

/// activation(x · weight + bias): [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <Activation kActivation, typename W>
class LinearKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = kActivation == Activation::none ? "Linear" : "LinearGelu";
  static constexpr std::size_t kInputs = 3;  // x, weight, bias
  static constexpr auto kFirstInputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  static constexpr auto kOutputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

  LinearKernel(const OrtKernelInfo* info, WeightStore& weights)
      : name_(node_name(kName, info)), weight_(kept_weight<W>(info, weights)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  const W* weight_;
};

/// x · weightᵀ: [batch, num_logits, inputs] to [batch, num_logits, outputs].
template <typename W>
class HeadKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = "Head";
  static constexpr std::size_t kInputs = 2;  // x, weight
  static constexpr auto kFirstInputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  static constexpr auto kOutputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

  HeadKernel(const OrtKernelInfo* info, WeightStore& weights)
      : name_(node_name(kName, info)), weight_(kept_weight<W>(info, weights)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  const W* weight_;
};

}  // namespace kvcache::ops
