#include "ort/cuda/linear_nodes.hpp"

#include "kernels/cuda/embedding_cuda.hpp"
#include "kernels/panels.hpp"
#include "plan/cuda/recorded_nodes.hpp"

namespace kvcache::ort {
namespace {

/// The sizes of a product, after checking that its inputs agree.
template <typename T>
kernels::LinearCudaArgs<T> product_of(const std::string& name, const Ort::ConstValue& x,
                                      const Ort::ConstValue& weight, const Ort::ConstValue& bias) {
  const Shape x_shape = shape_of(x);
  const Shape bias_shape = shape_of(bias);
  check(x_shape.size() == 3 && bias_shape.size() == 1, name,
        "x must be [batch, seq_len, inputs] and bias [outputs]");
  kernels::LinearCudaArgs<T> args;
  args.tokens = x_shape[0] * x_shape[1];
  args.inputs = x_shape[2];
  args.outputs = bias_shape[0];
  const std::int64_t panels = kernels::panel_count(args.outputs);
  check(shape_of(weight) == Shape{panels, args.inputs, kernels::kPanelColumns}, name,
        "weight must be packed: [ceil(outputs / 64), inputs, 64]");
  args.x = raw_data<T>(x);
  args.weight = raw_data<T>(weight);
  args.bias = raw_data<T>(bias);
  return args;
}

template <typename T>
kernels::NormArgs<T> norm_of(const std::string& name, const Ort::ConstValue& weight,
                             const Ort::ConstValue& bias, std::int64_t inputs, float epsilon) {
  check(shape_of(weight) == Shape{inputs} && shape_of(bias) == Shape{inputs}, name,
        "the norm's weight and bias must be [inputs]");
  return {raw_data<T>(weight), raw_data<T>(bias), epsilon};
}

}  // namespace

template <typename T>
TokenEmbeddingNode<T>::TokenEmbeddingNode(const OrtKernelInfo* info,
                                          const CudaNodeResources& resources)
    : name_(node_name(kName, info)) {
  const Shape tokens = declared_shape(info, 2);
  const Shape positions = declared_shape(info, 3);
  check(tokens.size() == 2 && positions.size() == 2 && tokens[1] == positions[1], name_,
        "the weights must be [count, size], of one size");
  resources.facts.embedding = {tokens[0], positions[0], positions[1]};
}

template <typename T>
OrtStatusPtr TokenEmbeddingNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto input_ids = context.GetInput(0);
    const auto position_ids = context.GetInput(1);
    const Shape ids_shape = shape_of(input_ids);
    const Shape token_shape = shape_of(context.GetInput(2));
    const Shape position_shape = shape_of(context.GetInput(3));
    check(ids_shape.size() == 2 && shape_of(position_ids) == ids_shape, name_,
          "input_ids and position_ids must be [batch, seq_len]");
    check(token_shape.size() == 2 && position_shape.size() == 2 &&
              token_shape[1] == position_shape[1],
          name_, "the weights must be [count, size], of one size");
    kernels::EmbeddingCudaArgs<T> args;
    args.input_ids = raw_data<std::int64_t>(input_ids);
    args.position_ids = raw_data<std::int64_t>(position_ids);
    args.token_weight = raw_data<T>(context.GetInput(2));
    args.position_weight = raw_data<T>(context.GetInput(3));
    args.tokens = ids_shape[0] * ids_shape[1];
    args.size = token_shape[1];
    args.vocab_size = token_shape[0];
    args.max_seq_len = position_shape[0];
    args.out = raw_output<T>(context, 0, Shape{ids_shape[0], ids_shape[1], args.size});
    plan::NodeRecording::note(args);
    if (args.tokens > 0) {
      check_launch(kernels::token_embedding_cuda(args, stream_of(context)), name_);
    }
  });
}

template <typename T>
bool ProductNode<T>::is_few(std::int64_t tokens, std::int64_t inputs) {
  // Where cuBLAS's tensor cores begin to win; float32 has none.
  constexpr std::int64_t kFew = sizeof(T) == 2 ? 4 : 32;
  return tokens <= kFew && kernels::few_rows_fit(tokens, inputs);
}

template <typename T>
void ProductNode<T>::run(kernels::LinearCudaArgs<T>& args, cudaStream_t stream) {
  plan::NodeRecording::note(args);
  if (args.tokens == 0) {
    return;
  }
  if constexpr (sizeof(T) == 2) {
    if (args.tokens > 1 && kernels::some_rows_fit(args.tokens, args.inputs, args.outputs)) {
      check_launch(kernels::linear_some_rows(args, stream), name_);
      return;
    }
  }
  if (is_few(args.tokens, args.inputs)) {
    check_launch(kernels::linear_few_rows(args, stream), name_);
    return;
  }
  const T* x = args.x;
  if (args.norm.weight != nullptr) {
    auto* normalized = static_cast<T*>(
        room_->scratch(static_cast<std::size_t>(args.tokens * args.inputs) * sizeof(T)));
    check_launch(
        kernels::layer_norm<T>(x, nullptr, args.norm, args.tokens, args.inputs, normalized, stream),
        name_);
    x = normalized;
  }
  const kernels::ProductEnd end{args.bias, args.residual, args.gelu};
  if (!room_->products().with_panels(CudaType<T>::kProduct, x, args.weight, end, args.out,
                                     args.tokens, args.inputs, args.outputs, stream)) {
    check_launch(kernels::finish_linear(args, stream), name_);
  }
}

template <typename T, bool kGelu>
OrtStatusPtr NormLinearNode<T, kGelu>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(0);
    kernels::LinearCudaArgs<T> args =
        product_of<T>(this->name_, x, context.GetInput(3), context.GetInput(4));
    args.norm =
        norm_of<T>(this->name_, context.GetInput(1), context.GetInput(2), args.inputs, epsilon_);
    args.gelu = kGelu;
    const Shape shape = shape_of(x);
    args.out = raw_output<T>(context, 0, Shape{shape[0], shape[1], args.outputs});
    this->run(args, stream_of(context));
  });
}

template <typename T>
OrtStatusPtr LinearResidualNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(0);
    const auto residual = context.GetInput(3);
    kernels::LinearCudaArgs<T> args =
        product_of<T>(this->name_, x, context.GetInput(1), context.GetInput(2));
    const Shape shape = shape_of(x);
    check(shape_of(residual) == Shape{shape[0], shape[1], args.outputs}, this->name_,
          "residual must be [batch, seq_len, outputs]");
    args.residual = raw_data<T>(residual);
    args.out = raw_output<T>(context, 0, Shape{shape[0], shape[1], args.outputs});
    this->run(args, stream_of(context));
  });
}

template <typename T>
OrtStatusPtr SelectNormHeadNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(0);
    const auto positions = context.GetInput(1);
    const auto weight = context.GetInput(4);
    const Shape x_shape = shape_of(x);
    const Shape weight_shape = shape_of(weight);
    check(x_shape.size() == 3 && weight_shape.size() == 2 && x_shape[2] == weight_shape[1],
          this->name_, "x must be [batch, seq_len, inputs] and weight [outputs, inputs]");
    kernels::HeadCudaArgs<T> args;
    args.positions = optional_data<std::int64_t>(positions);
    check(args.positions == nullptr || x_shape[0] == 1, this->name_,
          "logits_positions are those of a batch of one");
    const std::int64_t selected = args.positions == nullptr ? x_shape[1] : shape_of(positions)[0];
    args.tokens = x_shape[0] * selected;
    args.inputs = weight_shape[1];
    args.outputs = weight_shape[0];
    args.x = raw_data<T>(x);
    args.weight = raw_data<T>(weight);
    args.norm =
        norm_of<T>(this->name_, context.GetInput(2), context.GetInput(3), args.inputs, epsilon_);
    args.out = raw_output<T>(context, 0, Shape{x_shape[0], selected, args.outputs});
    run_head(args, stream_of(context));
  });
}

template <typename T>
void SelectNormHeadNode<T>::run_head(const kernels::HeadCudaArgs<T>& args, cudaStream_t stream) {
  plan::NodeRecording::note(args);
  if (args.tokens == 0) {
    return;
  }
  DeviceRoom& room = *this->room_;
  if (this->is_few(args.tokens, args.inputs)) {
    check_launch(kernels::head_few_rows(args, room.multiprocessors(), stream), this->name_);
    return;
  }
  auto* normalized = static_cast<T*>(
      room.scratch(static_cast<std::size_t>(args.tokens * args.inputs) * sizeof(T)));
  check_launch(kernels::layer_norm<T>(args.x, args.positions, args.norm, args.tokens, args.inputs,
                                      normalized, stream),
               this->name_);
  if constexpr (sizeof(T) == 2) {
    if (kernels::head_some_rows_fit(args.tokens, args.inputs)) {
      kernels::HeadCudaArgs<T> rest = args;
      rest.x = normalized;
      check_launch(kernels::head_some_rows(rest, room.multiprocessors(), stream), this->name_);
      return;
    }
  }
  room.products().with_rows(CudaType<T>::kProduct, normalized, args.weight, args.out, args.tokens,
                            args.inputs, args.outputs, stream);
}

template class TokenEmbeddingNode<float>;
template class TokenEmbeddingNode<__half>;
template class TokenEmbeddingNode<__nv_bfloat16>;
template class NormLinearNode<float, false>;
template class NormLinearNode<__half, false>;
template class NormLinearNode<__nv_bfloat16, false>;
template class NormLinearNode<float, true>;
template class NormLinearNode<__half, true>;
template class NormLinearNode<__nv_bfloat16, true>;
template class LinearResidualNode<float>;
template class LinearResidualNode<__half>;
template class LinearResidualNode<__nv_bfloat16>;
template class SelectNormHeadNode<float>;
template class SelectNormHeadNode<__half>;
template class SelectNormHeadNode<__nv_bfloat16>;

}  // namespace kvcache::ort
