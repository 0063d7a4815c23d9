#include "ort/quantized_linear.hpp"

#include <fmt/format.h>

#include "plan/cpu/recorded_nodes.hpp"

namespace kvcache::ort {
namespace {

kernels::AccuracyLevel accuracy_of(const OrtKernelInfo* info, const std::string& node) {
  const auto value = Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("accuracy_level");
  const auto level = static_cast<kernels::AccuracyLevel>(value);
  if (level != kernels::AccuracyLevel::float32 && level != kernels::AccuracyLevel::int8) {
    fail(fmt::format("{}: accuracy_level is {}, must be 1 (float32) or 4 (int8)", node, value));
  }
  return level;
}

}  // namespace

template <LinearNode kNode>
QuantizedLinearKernel<kNode>::QuantizedLinearKernel(const OrtKernelInfo* info,
                                                    weights::WeightStore& weights,
                                                    const ThreadTeam& threads)
    : name_(node_name(kName, info)),
      around_(info),
      weight_(info, weights, name_, kWeightInput, kInputs - 1),
      accuracy_(accuracy_of(info, name_)),
      threads_(threads) {
  if constexpr (kNode == LinearNode::head) {
    outputs_ = Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("outputs");
  }
}

template <LinearNode kNode>
void QuantizedLinearKernel<kNode>::tell(const OrtKernelInfo* /*info*/, GraphFacts& facts) const {
  facts.weights.emplace(weight_.type_name());
  if (accuracy_ == kernels::AccuracyLevel::int8) {
    facts.rounded_to.emplace("int8");
  }
}

template <LinearNode kNode>
OrtStatusPtr QuantizedLinearKernel<kNode>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    const Ort::KernelContext context(raw_context);
    const TokensOfNode tokens = around_.tokens(context, name_);
    kernels::NormedProduct<kernels::QuantizedLinearArgs> node{
        .norm = tokens.norm, .product = {}, .x = {}};
    kernels::QuantizedLinearArgs& args = node.product;
    std::int64_t outputs = outputs_;
    if constexpr (kNode != LinearNode::head) {
      const auto bias = around_.bias(context, name_);
      outputs = shape_of(bias)[0];
      args.bias = bias.template GetTensorData<float>();
    }
    const Shape out_shape{tokens.batch, tokens.seq_len, outputs};
    args.x = tokens.x;
    args.weight = weight_.matrix(context, name_, tokens.inputs, outputs);
    args.residual = around_.residual(context, name_, out_shape);
    args.tokens = tokens.count();
    args.activation = activation_of(kNode);
    args.accuracy = accuracy_;
    args.out = context.GetOutput(0, out_shape).template GetTensorMutableData<float>();
    plan::CpuRecording::note(node);
    kernels::run_node(node, threads_);
  });
}

template class QuantizedLinearKernel<LinearNode::norm>;
template class QuantizedLinearKernel<LinearNode::norm_gelu>;
template class QuantizedLinearKernel<LinearNode::residual>;
template class QuantizedLinearKernel<LinearNode::head>;

}  // namespace kvcache::ort
