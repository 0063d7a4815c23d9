// The nodes of linear_node.hpp and `kvcache::Head`: all products with weights, which may be
// narrower than the float32 they compute in. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/cpu/bfloat16_cpu.hpp"
#include "ops/cpu/linear_cpu.hpp"
#include "ops/linear_node.hpp"
#include "ops/weight_op.hpp"

namespace kvcache::ops {

/// What a node multiplies its weight with: x, or, where the weight is bfloat16, x rounded to that.
enum class Multiplied { as_is, as_bfloat16 };

constexpr const char* linear_name(LinearNode node, Multiplied x) {
  const bool as_is = x == Multiplied::as_is;
  switch (node) {
    case LinearNode::norm:
      return as_is ? "NormLinear" : "BFloat16NormLinear";
    case LinearNode::norm_gelu:
      return as_is ? "NormLinearGelu" : "BFloat16NormLinearGelu";
    case LinearNode::residual:
      break;
  }
  return as_is ? "LinearResidual" : "BFloat16LinearResidual";
}

/// [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <LinearNode kNode, typename W, Multiplied kX = Multiplied::as_is>
class LinearKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = linear_name(kNode, kX);
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
template <typename W, Multiplied kX = Multiplied::as_is>
class HeadKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = kX == Multiplied::as_is ? "Head" : "BFloat16Head";
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
