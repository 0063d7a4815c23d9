#include "ort/linear_node.hpp"

#include <algorithm>

namespace kvcache::ort {
namespace {

/// The tokens that a head is wanted of, all where none is named.
void select(const Ort::KernelContext& context, const std::string& node, TokensOfNode& tokens) {
  const auto positions = context.GetInput(1);
  const auto* const selected = optional_data<std::int64_t>(positions);
  if (selected == nullptr) {
    return;
  }
  const std::int64_t count = shape_of(positions)[0];
  check(std::all_of(selected, selected + count,
                    [&](auto position) { return position >= 0 && position < tokens.seq_len; }),
        node, "logits_positions must lie in [0, seq_len)");
  tokens.norm.selected = selected;
  tokens.norm.selected_count = count;
  tokens.norm.batch_tokens = tokens.seq_len;
  tokens.seq_len = count;
}

}  // namespace

template <LinearNode kNode>
AroundLinear<kNode>::AroundLinear(const OrtKernelInfo* info) {
  if constexpr (has_norm(kNode)) {
    epsilon_ = Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon");
  }
}

template <LinearNode kNode>
TokensOfNode AroundLinear<kNode>::tokens(const Ort::KernelContext& context,
                                         const std::string& node) const {
  const auto x = context.GetInput(0);
  const Shape shape = shape_of(x);
  check(shape.size() == 3, node, "x must be [batch, seq_len, inputs]");
  TokensOfNode tokens{x.GetTensorData<float>(), {}, shape[0], shape[1], shape[2]};
  if constexpr (kNode == LinearNode::head) {
    select(context, node, tokens);
  }
  if constexpr (has_norm(kNode)) {
    const auto weight = context.GetInput(norm_input(kNode));
    const auto bias = context.GetInput(norm_input(kNode) + 1);
    const Shape of_token{tokens.inputs};
    check(shape_of(weight) == of_token && shape_of(bias) == of_token, node,
          "norm_weight and norm_bias must be [inputs]");
    tokens.norm.x = tokens.x;
    tokens.norm.weight = weight.GetTensorData<float>();
    tokens.norm.bias = bias.GetTensorData<float>();
    tokens.norm.tokens = tokens.count();
    tokens.norm.size = tokens.inputs;
    tokens.norm.epsilon = epsilon_;
  }
  return tokens;
}

template <LinearNode kNode>
Ort::ConstValue AroundLinear<kNode>::bias(const Ort::KernelContext& context,
                                          const std::string& node) {
  const auto bias = context.GetInput(bias_input(kNode));
  check(shape_of(bias).size() == 1, node, "bias must be [outputs]");
  return bias;
}

template <LinearNode kNode>
const float* AroundLinear<kNode>::residual(const Ort::KernelContext& context,
                                           const std::string& node, const Shape& out) {
  if constexpr (kNode != LinearNode::residual) {
    return nullptr;
  } else {
    const auto residual = context.GetInput(residual_input(kNode));
    check(shape_of(residual) == out, node, "residual must be [batch, seq_len, outputs]");
    return residual.template GetTensorData<float>();
  }
}

template class AroundLinear<LinearNode::norm>;
template class AroundLinear<LinearNode::norm_gelu>;
template class AroundLinear<LinearNode::residual>;
template class AroundLinear<LinearNode::head>;

}  // namespace kvcache::ort
