// The nodes of linear_node.hpp: all products with weights, which may be narrower than the float32
// they compute in. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "kernels/cpu/node_args.hpp"
#include "ort/linear_node.hpp"
#include "ort/weight_op.hpp"

namespace kvcache::ort {

constexpr const char* linear_name(LinearNode node, kernels::Multiplied x) {
  const bool as_is = x == kernels::Multiplied::as_is;
  switch (node) {
    case LinearNode::norm:
      return as_is ? "NormLinear" : "BFloat16NormLinear";
    case LinearNode::norm_gelu:
      return as_is ? "NormLinearGelu" : "BFloat16NormLinearGelu";
    case LinearNode::residual:
      return as_is ? "LinearResidual" : "BFloat16LinearResidual";
    case LinearNode::head:
      break;
  }
  return as_is ? "SelectNormHead" : "BFloat16SelectNormHead";
}

template <typename W>
void tell_types(kernels::Multiplied x, GraphFacts& facts) {
  facts.weights.emplace(weight_type_name<W>());
  if (x == kernels::Multiplied::as_bfloat16) {
    facts.rounded_to.emplace("bfloat16");
  }
}

/// [batch, seq_len, inputs] to [batch, seq_len, outputs].
template <LinearNode kNode, typename W, kernels::Multiplied kX = kernels::Multiplied::as_is>
class LinearKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = linear_name(kNode, kX);
  static constexpr std::size_t kInputs = input_count(kNode);
  static constexpr std::size_t kWeightInput = weight_input(kNode);
  static constexpr bool takes_ids(std::size_t input) { return ort::takes_ids(kNode, input); }

  LinearKernel(const OrtKernelInfo* info, weights::WeightStore& weights, const ThreadTeam& threads)
      : name_(node_name(kName, info)),
        around_(info),
        weight_(kept_weight<W>(info, weights, kWeightInput)),
        threads_(threads) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);
  void tell(const OrtKernelInfo* /*info*/, GraphFacts& facts) const { tell_types<W>(kX, facts); }

 private:
  std::string name_;
  AroundLinear<kNode> around_;
  const W* weight_;
  const ThreadTeam& threads_;
};

/// Norm of the chosen tokens of x, times weightᵀ: [batch, seq_len, inputs] to
/// [batch, num_logits, outputs].
template <typename W, kernels::Multiplied kX = kernels::Multiplied::as_is>
class HeadKernel {
 public:
  using Weight = W;
  static constexpr const char* kName = linear_name(LinearNode::head, kX);
  static constexpr std::size_t kInputs = input_count(LinearNode::head);
  static constexpr std::size_t kWeightInput = weight_input(LinearNode::head);
  static constexpr bool takes_ids(std::size_t input) {
    return ort::takes_ids(LinearNode::head, input);
  }

  HeadKernel(const OrtKernelInfo* info, weights::WeightStore& weights, const ThreadTeam& threads)
      : name_(node_name(kName, info)),
        around_(info),
        weight_(kept_weight<W>(info, weights, kWeightInput)),
        threads_(threads) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);
  void tell(const OrtKernelInfo* /*info*/, GraphFacts& facts) const { tell_types<W>(kX, facts); }

 private:
  std::string name_;
  AroundLinear<LinearNode::head> around_;
  const W* weight_;
  const ThreadTeam& threads_;
};

}  // namespace kvcache::ort
