// The nodes of linear_node.hpp and `kvcache::Head`: all products with weights, which may be
// narrower than the float32 they compute in. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/cpu/linear_cpu.hpp"
#include "ops/linear_node.hpp"
#include "ops/weight_op.hpp"

namespace kvcache::ops {

/// [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <LinearNode kNode, typename W>
class LinearKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = kNode == LinearNode::norm        ? "NormLinear"
                                       : kNode == LinearNode::norm_gelu ? "NormLinearGelu"
                                                                        : "LinearResidual";
  static constexpr std::size_t kInputs = input_count(kNode);
  static constexpr std::size_t kWeightInput = weight_input(kNode);
  static constexpr auto kFirstInputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  static constexpr auto kOutputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

  LinearKernel(const OrtKernelInfo* info, WeightStore& weights)
      : name_(node_name(kName, info)),
        around_(info),
        weight_(kept_weight<W>(info, weights, kWeightInput)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  AroundLinear<kNode> around_;
  const W* weight_;
};

/// x · weightᵀ: [batch, num_logits, inputs] to [batch, num_logits, outputs].
template <typename W>
class HeadKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = "Head";
  static constexpr std::size_t kInputs = 2;  // x, weight
  static constexpr std::size_t kWeightInput = 1;
  static constexpr auto kFirstInputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  static constexpr auto kOutputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

  HeadKernel(const OrtKernelInfo* info, WeightStore& weights)
      : name_(node_name(kName, info)), weight_(kept_weight<W>(info, weights, kWeightInput)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  const W* weight_;
};

}  // namespace kvcache::ops
