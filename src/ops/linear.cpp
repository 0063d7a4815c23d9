#include "ops/linear.hpp"

namespace kvcache::ops {

template <LinearNode kNode, typename W, Multiplied kX>
OrtStatusPtr LinearKernel<kNode, W, kX>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const OrtParallelFor parallel_for(context);
    const Shape x_shape = shape_of(context.GetInput(0));
    const float* tokens = around_.tokens(context, name_, x_shape, parallel_for);
    const auto weight = context.GetInput(kWeightInput);
    const auto bias = context.GetInput(bias_input(kNode));
    const Shape bias_shape = shape_of(bias);
    check(bias_shape.size() == 1, name_, "bias must be [outputs]");
    LinearArgs<W> args;
    args.tokens = x_shape[0] * x_shape[1];
    args.inputs = x_shape[2];
    args.outputs = bias_shape[0];
    args.activation = activation_of(kNode);
    const std::int64_t panels = (args.outputs + kPanelColumns - 1) / kPanelColumns;
    check(shape_of(weight) == Shape{panels, args.inputs, kPanelColumns}, name_,
          "weight must be packed: [ceil(outputs / 64), inputs, 64]");
    const Shape out_shape{x_shape[0], x_shape[1], args.outputs};
    args.x = tokens;
    args.weight = weight_ != nullptr ? weight_ : raw_data<W>(weight);
    args.bias = bias.GetTensorData<float>();
    args.residual = around_.residual(context, name_, out_shape);
    args.out = context.GetOutput(0, out_shape).template GetTensorMutableData<float>();
    if constexpr (kX == Multiplied::as_bfloat16) {
      bfloat16_linear_cpu(args, parallel_for);
    } else {
      linear_cpu(args, parallel_for);
    }
  });
}

template class LinearKernel<LinearNode::norm, float>;
template class LinearKernel<LinearNode::norm, Ort::Float16_t>;
template class LinearKernel<LinearNode::norm, Ort::BFloat16_t>;
template class LinearKernel<LinearNode::norm_gelu, float>;
template class LinearKernel<LinearNode::norm_gelu, Ort::Float16_t>;
template class LinearKernel<LinearNode::norm_gelu, Ort::BFloat16_t>;
template class LinearKernel<LinearNode::residual, float>;
template class LinearKernel<LinearNode::residual, Ort::Float16_t>;
template class LinearKernel<LinearNode::residual, Ort::BFloat16_t>;
template class LinearKernel<LinearNode::norm, Ort::BFloat16_t, Multiplied::as_bfloat16>;
template class LinearKernel<LinearNode::norm_gelu, Ort::BFloat16_t, Multiplied::as_bfloat16>;
template class LinearKernel<LinearNode::residual, Ort::BFloat16_t, Multiplied::as_bfloat16>;

template <typename W, Multiplied kX>
OrtStatusPtr HeadKernel<W, kX>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(0);
    const auto weight = context.GetInput(1);
    const Shape x_shape = shape_of(x);
    const Shape weight_shape = shape_of(weight);
    check(x_shape.size() == 3 && weight_shape.size() == 2 && x_shape[2] == weight_shape[1], name_,
          "x must be [batch, num_logits, inputs] and weight [outputs, inputs]");
    HeadArgs<W> args;
    args.tokens = x_shape[0] * x_shape[1];
    args.inputs = weight_shape[1];
    args.outputs = weight_shape[0];
    args.x = x.GetTensorData<float>();
    args.weight = weight_ != nullptr ? weight_ : raw_data<W>(weight);
    args.out = context.GetOutput(0, Shape{x_shape[0], x_shape[1], args.outputs})
                   .template GetTensorMutableData<float>();
    if constexpr (kX == Multiplied::as_bfloat16) {
      bfloat16_head_cpu(args, OrtParallelFor(context));
    } else {
      head_cpu(args, OrtParallelFor(context));
    }
  });
}

template class HeadKernel<float>;
template class HeadKernel<Ort::Float16_t>;
template class HeadKernel<Ort::BFloat16_t>;
template class HeadKernel<Ort::BFloat16_t, Multiplied::as_bfloat16>;

}  // namespace kvcache::ops
