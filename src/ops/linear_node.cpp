#include "ops/linear_node.hpp"

#include "ops/cpu/layer_norm_cpu.hpp"
#include "ops/cpu/thread_scratch.hpp"

namespace kvcache::ops {

template <LinearNode kNode>
AroundLinear<kNode>::AroundLinear(const OrtKernelInfo* info) {
  if constexpr (has_norm(kNode)) {
    epsilon_ = Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon");
  }
}

template <LinearNode kNode>
const float* AroundLinear<kNode>::tokens(Ort::KernelContext& context, const std::string& node,
                                         const Shape& x_shape,
                                         const ParallelFor& parallel_for) const {
  const auto x = context.GetInput(0);
  check(x_shape.size() == 3, node, "x must be [batch, seq_len, inputs]");
  if constexpr (has_norm(kNode)) {
    const auto weight = context.GetInput(1);
    const auto bias = context.GetInput(2);
    const Shape of_token{x_shape[2]};
    check(shape_of(weight) == of_token && shape_of(bias) == of_token, node,
          "norm_weight and norm_bias must be [inputs]");
    LayerNormArgs args;
    args.x = x.GetTensorData<float>();
    args.weight = weight.GetTensorData<float>();
    args.bias = bias.GetTensorData<float>();
    args.tokens = x_shape[0] * x_shape[1];
    args.size = x_shape[2];
    args.epsilon = epsilon_;
    args.out = thread_scratch(args.tokens * args.size, ScratchUse::normed);
    layer_norm_cpu(args, parallel_for);
    return args.out;
  } else {
    return x.GetTensorData<float>();
  }
}

template <LinearNode kNode>
const float* AroundLinear<kNode>::residual(Ort::KernelContext& context, const std::string& node,
                                           const Shape& out) {
  if constexpr (has_norm(kNode)) {
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

}  // namespace kvcache::ops
