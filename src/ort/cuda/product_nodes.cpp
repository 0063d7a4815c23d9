#include "ort/cuda/product_nodes.hpp"

#include "kernels/panels.hpp"

namespace kvcache::ort {
namespace {

constexpr std::pair<const char*, bool> kGelu[]{{"", false}, {"gelu_tanh", true}};

void check_vector(const std::string& node, const Ort::ConstValue& vector, std::int64_t size) {
  if (shape_of(vector) != Shape{size}) {
    fail(fmt::format("{}: a norm's weight and bias must be [inputs], a bias [outputs]: [{}]", node,
                     size));
  }
}

}  // namespace

template <typename T>
EmbeddingNode<T>::EmbeddingNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : ToldNode(kName, info, resources) {
  check(has_input(info, kPositionWeight) && !has_input(info, kTokenScales) &&
            attribute_or<float>(info, "scale", 1) == 1,
        name_, "there is a kernel for a plain table of tokens and one of positions, no other");
  const Shape tokens = declared_shape(info, kTokenWeight);
  const Shape positions = declared_shape(info, kPositionWeight);
  check(tokens.size() == 2 && positions.size() == 2 && tokens[1] == positions[1], name_,
        "the weights must be [count, size], of one size");
  resources.facts.embedding = {tokens[0], positions[0], positions[1]};
}

template <typename T>
OrtStatusPtr EmbeddingNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto input_ids = context.GetInput(kInputIds);
    const auto position_ids = context.GetInput(kPositionIds);
    const auto token_weight = context.GetInput(kTokenWeight);
    const auto position_weight = context.GetInput(kPositionWeight);
    const Shape ids_shape = shape_of(input_ids);
    const Shape token_shape = shape_of(token_weight);
    check(ids_shape.size() == 2 && shape_of(position_ids) == ids_shape, name_,
          "input_ids and position_ids must be [batch, seq_len]");
    kernels::EmbeddingCudaArgs<T> args;
    args.input_ids = raw_data<std::int64_t>(input_ids);
    args.position_ids = raw_data<std::int64_t>(position_ids);
    args.token_weight = raw_data<T>(token_weight);
    args.position_weight = raw_data<T>(position_weight);
    args.tokens = ids_shape[0] * ids_shape[1];
    args.size = token_shape[1];
    args.vocab_size = token_shape[0];
    args.max_seq_len = shape_of(position_weight)[0];
    args.out = raw_output<T>(context, 0, Shape{ids_shape[0], ids_shape[1], args.size});
    tell(args);
    if (args.tokens > 0) {
      check_launch(kernels::token_embedding_cuda(args, stream_of(context)), name_);
    }
  });
}

template <typename T>
ProductNode<T>::ProductNode(ProductRole role, const OrtKernelInfo* info,
                            const CudaNodeResources& resources)
    : ToldNode(product_name(role), info, resources),
      room_(resources.room),
      has_norm_(choice(info, name_, "norm", kNorms)),
      epsilon_(attribute_or<float>(info, "epsilon", 0)) {
  check(!has_input(info, kWeightScales), name_,
        "there is no kernel for a quantised weight on CUDA");
  check(has_input(info, kNormWeight) == has_norm_ && has_input(info, kNormBias) == has_norm_, name_,
        "norm_weight and norm_bias must be there for a layer_norm, and only then");
  resources.facts.weights.insert(CudaType<T>::kName);
  const Shape weight = declared_shape(info, kWeight);  // a head's has the outputs first
  resources.facts.products.insert_or_assign(
      Ort::ConstKernelInfo(info).GetNodeName(),
      GraphFacts::Product{attribute_or<std::int64_t>(info, "outputs", weight.at(0)),
                          has_norm_ ? epsilon_ : 0,
                          attribute_or<std::string>(info, "activation", ""),
                          attribute_or<std::string>(info, "norm", "")});
}

template <typename T>
kernels::NormArgs<T> ProductNode<T>::norm(const Ort::KernelContext& context,
                                          std::int64_t inputs) const {
  if (!has_norm_) {
    return {};
  }
  const auto weight = context.GetInput(kNormWeight);
  const auto bias = context.GetInput(kNormBias);
  check_vector(name_, weight, inputs);
  check_vector(name_, bias, inputs);
  return {raw_data<T>(weight), raw_data<T>(bias), epsilon_};
}

template <typename T>
bool ProductNode<T>::is_few(std::int64_t tokens, std::int64_t inputs) {
  // Where cuBLAS's tensor cores begin to win; float32 has none.
  constexpr std::int64_t kFew = sizeof(T) == 2 ? 4 : 32;
  return tokens <= kFew && kernels::few_rows_fit(tokens, inputs);
}

template <typename T>
LinearNode<T>::LinearNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : ProductNode<T>(ProductRole::linear, info, resources),
      outputs_(Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("outputs")),
      gelu_(choice(info, this->name_, "activation", kGelu)) {
  check(has_input(info, kBias) && attribute_or<std::int64_t>(info, "gated", 0) == 0, this->name_,
        "there is no kernel for a Linear that is gated or has no bias");
}

template <typename T>
OrtStatusPtr LinearNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kX);
    const auto weight = context.GetInput(kWeight);
    const auto bias = context.GetInput(kBias);
    const auto residual = context.GetInput(kResidual);
    const Shape shape = shape_of(x);
    check(shape.size() == 3, this->name_, "x must be [batch, seq_len, inputs]");
    const Shape out_shape{shape[0], shape[1], outputs_};
    kernels::LinearCudaArgs<T> args;
    args.tokens = shape[0] * shape[1];
    args.inputs = shape[2];
    args.outputs = outputs_;
    check(shape_of(weight) ==
              Shape{kernels::panel_count(outputs_), args.inputs, kernels::kPanelColumns},
          this->name_, "weight must be packed: [ceil(outputs / 64), inputs, 64]");
    check_vector(this->name_, bias, outputs_);
    args.x = raw_data<T>(x);
    args.norm = this->norm(context, args.inputs);
    args.weight = raw_data<T>(weight);
    args.bias = raw_data<T>(bias);
    args.gelu = gelu_;
    if (static_cast<const OrtValue*>(residual) != nullptr) {
      check(shape_of(residual) == out_shape, this->name_,
            "residual must be [batch, seq_len, outputs]");
      args.residual = raw_data<T>(residual);
    }
    args.out = raw_output<T>(context, 0, out_shape);
    run(args, stream_of(context));
  });
}

template <typename T>
void LinearNode<T>::run(const kernels::LinearCudaArgs<T>& args, cudaStream_t stream) {
  this->tell(args);
  if (args.tokens == 0) {
    return;
  }
  if constexpr (sizeof(T) == 2) {
    if (args.tokens > 1 && kernels::some_rows_fit(args.tokens, args.inputs, args.outputs)) {
      check_launch(kernels::linear_some_rows(args, stream), this->name_);
      return;
    }
  }
  if (this->is_few(args.tokens, args.inputs)) {
    check_launch(kernels::linear_few_rows(args, stream), this->name_);
    return;
  }
  const T* x = args.x;
  if (args.norm.weight != nullptr) {
    auto* normalized = static_cast<T*>(
        this->room_->scratch(static_cast<std::size_t>(args.tokens * args.inputs) * sizeof(T)));
    check_launch(
        kernels::layer_norm<T>(x, nullptr, args.norm, args.tokens, args.inputs, normalized, stream),
        this->name_);
    x = normalized;
  }
  const kernels::Epilogue end{args.bias, args.residual, args.gelu};
  if (!this->room_->products().with_panels(CudaType<T>::kProduct, x, args.weight, end, args.out,
                                           args.tokens, args.inputs, args.outputs, stream)) {
    check_launch(kernels::linear_epilogue(args, stream), this->name_);
  }
}

template <typename T>
HeadNode<T>::HeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : ProductNode<T>(ProductRole::head, info, resources) {
  check(has_input(info, kNormWeight) && !has_input(info, kBias), this->name_,
        "there is no kernel for a Head that has a bias or no norm");
}

template <typename T>
OrtStatusPtr HeadNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kX);
    const auto positions = context.GetInput(kPositions);
    const auto weight = context.GetInput(kWeight);
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
    args.norm = this->norm(context, args.inputs);
    args.out = raw_output<T>(context, 0, Shape{x_shape[0], selected, args.outputs});
    run(args, stream_of(context));
  });
}

template <typename T>
void HeadNode<T>::run(const kernels::HeadCudaArgs<T>& args, cudaStream_t stream) {
  this->tell(args);
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

template class EmbeddingNode<float>;
template class EmbeddingNode<__half>;
template class EmbeddingNode<__nv_bfloat16>;
template class LinearNode<float>;
template class LinearNode<__half>;
template class LinearNode<__nv_bfloat16>;
template class HeadNode<float>;
template class HeadNode<__half>;
template class HeadNode<__nv_bfloat16>;

}  // namespace kvcache::ort
