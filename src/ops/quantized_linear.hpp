// The nodes `kvcache::QuantizedLinear`, `QuantizedLinearGelu`, `QuantizedHead` and
// `QuantizedEmbedding`: weights of 8 or 4 bits. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

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
                   std::size_t scales_input);
  /// x is input 0, [batch, seq_len, inputs].
  void compute(Ort::KernelContext& context, std::int64_t outputs, const float* bias,
               Activation activation) const;

  std::string name_;

 private:
  KeptQuantizedWeight weight_;
  AccuracyLevel accuracy_;
};

/// activation(x · weight + bias): [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <Activation kActivation>
class QuantizedLinearKernel : public QuantizedProduct {
 public:
  static constexpr const char* kName =
      kActivation == Activation::none ? "QuantizedLinear" : "QuantizedLinearGelu";
  static constexpr std::size_t kInputs = 4;  // x, weight, bias, weight_scales

  QuantizedLinearKernel(const OrtKernelInfo* info, WeightStore& weights)
      : QuantizedProduct(info, weights, kName, kInputs - 1) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);
};

/// x · weight: [batch, num_logits, inputs] to [batch, num_logits, outputs].
class QuantizedHeadKernel : public QuantizedProduct {
 public:
  static constexpr const char* kName = "QuantizedHead";
  static constexpr std::size_t kInputs = 3;  // x, weight, weight_scales

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
