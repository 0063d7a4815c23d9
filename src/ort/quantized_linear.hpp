// The nodes of linear_node.hpp with weights of 8 or 4 bits; their names begin with `Quantized`. See
// docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ort/linear_node.hpp"
#include "ort/quantized_weight.hpp"

namespace kvcache::ort {

/// [batch, seq_len, inputs] to [batch, seq_len or num_logits, outputs].
template <LinearNode kNode>
class QuantizedLinearKernel {
 public:
  using Weight = std::uint8_t;
  static constexpr const char* kName = kNode == LinearNode::norm        ? "QuantizedNormLinear"
                                       : kNode == LinearNode::norm_gelu ? "QuantizedNormLinearGelu"
                                       : kNode == LinearNode::residual  ? "QuantizedLinearResidual"
                                                                        : "QuantizedSelectNormHead";
  static constexpr std::size_t kInputs = input_count(kNode) + 1;  // weight_scales
  static constexpr std::size_t kWeightInput = weight_input(kNode);
  static constexpr bool takes_ids(std::size_t input) { return ort::takes_ids(kNode, input); }

  QuantizedLinearKernel(const OrtKernelInfo* info, weights::WeightStore& weights,
                        const ThreadTeam& threads);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);
  void tell(const OrtKernelInfo* info, GraphFacts& facts) const;

 private:
  std::string name_;
  AroundLinear<kNode> around_;
  KeptQuantizedWeight weight_;
  kernels::AccuracyLevel accuracy_;
  std::int64_t outputs_ = 0;  // of a head: it has no bias to tell
  const ThreadTeam& threads_;
};

}  // namespace kvcache::ort
