// The nodes of linear_node.hpp, `kvcache::Head` and `Embedding`, with weights of 8 or 4 bits; their
// names begin with `Quantized`. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ops/linear_node.hpp"
#include "ops/quantized_weight.hpp"

namespace kvcache::ops {

/// What the three products have in common.
class QuantizedProduct {
 public:
  using Weight = std::uint8_t;
  static constexpr auto kFirstInputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  static constexpr auto kOutputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

 protected:
  QuantizedProduct(const OrtKernelInfo* info, WeightStore& weights, const char* op,
                   std::size_t weight_input, std::size_t scales_input);
  /// Fills in what is the same for all: `args` has x, whose shape is given, bias, residual and
  /// activation.
  void compute(Ort::KernelContext& context, const Shape& x_shape, std::int64_t outputs,
               QuantizedLinearArgs args, const ParallelFor& parallel_for) const;

  std::string name_;

 private:
  KeptQuantizedWeight weight_;
  AccuracyLevel accuracy_;
};

/// [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <LinearNode kNode>
class QuantizedLinearKernel : public QuantizedProduct {
 public:
  static constexpr const char* kName = kNode == LinearNode::norm        ? "QuantizedNormLinear"
                                       : kNode == LinearNode::norm_gelu ? "QuantizedNormLinearGelu"
                                                                        : "QuantizedLinearResidual";
  static constexpr std::size_t kInputs = input_count(kNode) + 1;  // weight_scales
  static constexpr std::size_t kWeightInput = weight_input(kNode);

  QuantizedLinearKernel(const OrtKernelInfo* info, WeightStore& weights)
      : QuantizedProduct(info, weights, kName, kWeightInput, kInputs - 1), around_(info) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  AroundLinear<kNode> around_;
};

/// x · weight: [batch, num_logits, inputs] to [batch, num_logits, outputs].
class QuantizedHeadKernel : public QuantizedProduct {
 public:
  static constexpr const char* kName = "QuantizedHead";
  static constexpr std::size_t kInputs = 3;  // x, weight, weight_scales
  static constexpr std::size_t kWeightInput = 1;

  QuantizedHeadKernel(const OrtKernelInfo* info, WeightStore& weights);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::int64_t outputs_;
};

/// Outputs `ids` of the weight, as rows: [batch, seq_len] to [batch, seq_len, inputs].
class QuantizedEmbeddingKernel {
 public:
  using Weight = std::uint8_t;
  static constexpr const char* kName = "QuantizedEmbedding";
  static constexpr std::size_t kInputs = 3;  // ids, weight, weight_scales
  static constexpr std::size_t kWeightInput = 1;
  static constexpr auto kFirstInputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  static constexpr auto kOutputType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

  QuantizedEmbeddingKernel(const OrtKernelInfo* info, WeightStore& weights);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);

 private:
  std::string name_;
  KeptQuantizedWeight weight_;
  std::int64_t inputs_;
  std::int64_t outputs_;
};

}  // namespace kvcache::ops
