#include "ort/linear.hpp"

#include "plan/cpu/recorded_nodes.hpp"

namespace kvcache::ort {

template <LinearNode kNode, typename W, kernels::Multiplied kX>
OrtStatusPtr LinearKernel<kNode, W, kX>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    const Ort::KernelContext context(raw_context);
    const TokensOfNode tokens = around_.tokens(context, name_);
    const auto weight = context.GetInput(kWeightInput);
    const auto bias = around_.bias(context, name_);
    kernels::NormedProduct<kernels::LinearArgs<W>> node{
        .norm = tokens.norm, .product = {}, .x = kX};
    kernels::LinearArgs<W>& args = node.product;
    args.tokens = tokens.count();
    args.inputs = tokens.inputs;
    args.outputs = shape_of(bias)[0];
    args.activation = activation_of(kNode);
    const std::int64_t panels = kernels::panel_count(args.outputs);
    check(shape_of(weight) == Shape{panels, args.inputs, kernels::kPanelColumns}, name_,
          "weight must be packed: [ceil(outputs / 64), inputs, 64]");
    const Shape out_shape{tokens.batch, tokens.seq_len, args.outputs};
    args.x = tokens.x;
    args.weight = weight_ != nullptr ? weight_ : raw_data<W>(weight);
    args.bias = bias.template GetTensorData<float>();
    args.residual = around_.residual(context, name_, out_shape);
    args.out = context.GetOutput(0, out_shape).template GetTensorMutableData<float>();
    plan::CpuRecording::note(node);
    kernels::run_node(node, threads_);
  });
}

template class LinearKernel<LinearNode::norm, float>;
template class LinearKernel<LinearNode::norm, Float16>;
template class LinearKernel<LinearNode::norm, BFloat16>;
template class LinearKernel<LinearNode::norm_gelu, float>;
template class LinearKernel<LinearNode::norm_gelu, Float16>;
template class LinearKernel<LinearNode::norm_gelu, BFloat16>;
template class LinearKernel<LinearNode::residual, float>;
template class LinearKernel<LinearNode::residual, Float16>;
template class LinearKernel<LinearNode::residual, BFloat16>;
template class LinearKernel<LinearNode::norm, BFloat16, kernels::Multiplied::as_bfloat16>;
template class LinearKernel<LinearNode::norm_gelu, BFloat16, kernels::Multiplied::as_bfloat16>;
template class LinearKernel<LinearNode::residual, BFloat16, kernels::Multiplied::as_bfloat16>;

template <typename W, kernels::Multiplied kX>
OrtStatusPtr HeadKernel<W, kX>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    const Ort::KernelContext context(raw_context);
    const TokensOfNode tokens = around_.tokens(context, name_);
    const auto weight = context.GetInput(kWeightInput);
    const Shape weight_shape = shape_of(weight);
    check(weight_shape.size() == 2 && tokens.inputs == weight_shape[1], name_,
          "weight must be [outputs, inputs]");
    kernels::NormedProduct<kernels::HeadArgs<W>> node{.norm = tokens.norm, .product = {}, .x = kX};
    kernels::HeadArgs<W>& args = node.product;
    args.tokens = tokens.count();
    args.inputs = weight_shape[1];
    args.outputs = weight_shape[0];
    args.weight = weight_ != nullptr ? weight_ : raw_data<W>(weight);
    args.out = context.GetOutput(0, Shape{tokens.batch, tokens.seq_len, args.outputs})
                   .template GetTensorMutableData<float>();
    plan::CpuRecording::note(node);
    kernels::run_node(node, threads_);
  });
}

template class HeadKernel<float>;
template class HeadKernel<Float16>;
template class HeadKernel<BFloat16>;
template class HeadKernel<BFloat16, kernels::Multiplied::as_bfloat16>;

}  // namespace kvcache::ort
