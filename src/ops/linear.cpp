#include "ops/linear.hpp"

namespace kvcache::ops {

template <Activation kActivation, typename W>
OrtStatusPtr LinearKernel<kActivation, W>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(0);
    const auto weight = context.GetInput(1);
    const auto bias = context.GetInput(2);
    const Shape x_shape = shape_of(x);
    const Shape bias_shape = shape_of(bias);
    check(x_shape.size() == 3 && bias_shape.size() == 1, name_,
          "x must be [batch, seq_len, inputs] and bias [outputs]");
    LinearArgs<W> args;
    args.tokens = x_shape[0] * x_shape[1];
    args.inputs = x_shape[2];
    args.outputs = bias_shape[0];
    args.activation = kActivation;
    const std::int64_t panels = (args.outputs + kPanelColumns - 1) / kPanelColumns;
    check(shape_of(weight) == Shape{panels, args.inputs, kPanelColumns}, name_,
          "weight must be packed: [ceil(outputs / 64), inputs, 64]");
    args.x = x.GetTensorData<float>();
    args.weight = weight_ != nullptr ? weight_ : raw_data<W>(weight);
    args.bias = bias.GetTensorData<float>();
    args.out = context.GetOutput(0, Shape{x_shape[0], x_shape[1], args.outputs})
                   .template GetTensorMutableData<float>();
    linear_cpu(args, OrtParallelFor(context));
  });
}

template class LinearKernel<Activation::none, float>;
template class LinearKernel<Activation::none, Ort::Float16_t>;
template class LinearKernel<Activation::none, Ort::BFloat16_t>;
template class LinearKernel<Activation::gelu, float>;
template class LinearKernel<Activation::gelu, Ort::Float16_t>;
template class LinearKernel<Activation::gelu, Ort::BFloat16_t>;

template <typename W>
OrtStatusPtr HeadKernel<W>::ComputeV2(OrtKernelContext* raw_context) {
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
    head_cpu(args, OrtParallelFor(context));
  });
}

template class HeadKernel<float>;
template class HeadKernel<Ort::Float16_t>;
template class HeadKernel<Ort::BFloat16_t>;

}  // namespace kvcache::ops
