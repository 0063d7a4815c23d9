#include "ort/cuda/product_nodes.hpp"

#include <cstddef>

#include "base/rounding.hpp"
#include "kernels/cuda/after_product_cuda.hpp"
#include "kernels/panels.hpp"

namespace kvcache::ort {

void tell_product(const OrtKernelInfo* info, ProductRole role, std::int64_t outputs, float epsilon,
                  GraphFacts& facts) {
  const bool has_post_norm = role == ProductRole::linear && has_input(info, kPostNormWeight);
  facts.products.insert_or_assign(
      Ort::ConstKernelInfo(info).GetNodeName(),
      GraphFacts::Product{
          .outputs = outputs,
          .epsilon = epsilon,
          .activation = attribute_or<std::string>(info, "activation", ""),
          .norm = attribute_or<std::string>(info, "norm", ""),
          .gated = is_gated(info),
          .soft_cap = attribute_or<float>(info, "soft_cap", 0),
          .post_epsilon = has_post_norm ? attribute_or<float>(info, "epsilon", 0) : 0});
}

template <typename T>
EmbeddingNode<T>::EmbeddingNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : ToldNode(kName, info, resources),
      has_positions_(has_input(info, kPositionWeight)),
      scale_(attribute_or<float>(info, "scale", 1)) {
  check(!has_input(info, kTokenScales), name_, "there is no kernel for a quantised table on CUDA");
  const Shape tokens = declared_shape(info, kTokenWeight);
  check(tokens.size() == 2, name_, "token_weight must be [count, size]");
  resources.facts.embedding = {tokens[0], std::nullopt, tokens[1], scale_};
  if (has_positions_) {
    const Shape positions = declared_shape(info, kPositionWeight);
    check(positions.size() == 2 && tokens[1] == positions[1], name_,
          "the weights must be [count, size], of one size");
    resources.facts.embedding->max_seq_len = positions[0];
  }
}

template <typename T>
OrtStatusPtr EmbeddingNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto input_ids = context.GetInput(kInputIds);
    const auto position_ids = context.GetInput(kPositionIds);
    const auto token_weight = context.GetInput(kTokenWeight);
    const Shape ids_shape = shape_of(input_ids);
    const Shape token_shape = shape_of(token_weight);
    check(ids_shape.size() == 2 && shape_of(position_ids) == ids_shape, name_,
          "input_ids and position_ids must be [batch, seq_len]");
    kernels::EmbeddingCudaArgs<T> args;
    args.input_ids = raw_data<std::int64_t>(input_ids);
    args.position_ids = raw_data<std::int64_t>(position_ids);
    args.token_weight = raw_data<T>(token_weight);
    args.tokens = ids_shape[0] * ids_shape[1];
    args.size = token_shape[1];
    args.vocab_size = token_shape[0];
    args.scale = scale_;
    if (has_positions_) {
      const auto position_weight = context.GetInput(kPositionWeight);
      args.position_weight = raw_data<T>(position_weight);
      args.max_seq_len = shape_of(position_weight)[0];
    }
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
      norm_(info, name_, kNormWeight, kNormBias) {
  check(!has_input(info, kWeightScales), name_,
        "there is no kernel for a quantised weight on CUDA");
  resources.facts.weights.insert(CudaType<T>::kName);
  const Shape weight = declared_shape(info, kWeight);  // a head's has the outputs first
  tell_product(info, role, attribute_or<std::int64_t>(info, "outputs", weight.at(0)),
               norm_.epsilon(), resources.facts);
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
      activation_(choice(info, this->name_, "activation", kActivations)),
      gated_(is_gated(info)),
      has_bias_(has_input(info, kBias)),
      has_post_norm_(has_input(info, kPostNormWeight)),
      post_epsilon_(has_post_norm_ ? attribute_or<float>(info, "epsilon", 0) : 0) {
  using kernels::Activation;
  check(gated_ || activation_ == Activation::none || activation_ == Activation::gelu_tanh,
        this->name_, "without a gate there is a kernel for gelu_tanh, no other");
  check(!gated_ || (activation_ != Activation::none && !has_post_norm_), this->name_,
        "there is no kernel for a gate without an activation, or before a norm");
  check(!has_post_norm_ || (!this->norm_.exists() && activation_ == Activation::none), this->name_,
        "there is no kernel for a norm behind a product with a norm or an activation");
}

template <typename T>
OrtStatusPtr LinearNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kX);
    const auto weight = context.GetInput(kWeight);
    const Shape shape = shape_of(x);
    check(shape.size() == 3, this->name_, "x must be [batch, seq_len, inputs]");
    const Shape out_shape{shape[0], shape[1], outputs_};
    kernels::LinearCudaArgs<T> args;
    args.tokens = shape[0] * shape[1];
    args.inputs = shape[2];
    args.outputs = outputs_;
    const std::int64_t matrices = gated_ ? 2 : 1;
    check(shape_of(weight) ==
              Shape{matrices * kernels::panel_count(outputs_), args.inputs, kernels::kPanelColumns},
          this->name_,
          "weight must be packed: [ceil(outputs / 64), inputs, 64], of a gate twice as many");
    args.x = raw_data<T>(x);
    args.norm = this->norm_.template args<T>(context, args.inputs);
    args.weight = raw_data<T>(weight);
    args.bias = vector_of<T>(context, has_bias_, kBias, matrices * outputs_, this->name_);
    args.gelu = !gated_ && activation_ == kernels::Activation::gelu_tanh;
    if (kResidual < context.GetInputCount()) {
      const auto residual = context.GetInput(kResidual);
      if (static_cast<const OrtValue*>(residual) != nullptr) {
        check(!gated_, this->name_, "there is no kernel for a gate with a residual");
        check(shape_of(residual) == out_shape, this->name_,
              "residual must be [batch, seq_len, outputs]");
        args.residual = raw_data<T>(residual);
      }
    }
    args.out = raw_output<T>(context, 0, out_shape);
    const T* const post_norm =
        vector_of<T>(context, has_post_norm_, kPostNormWeight, outputs_, this->name_);
    if (gated_) {
      const kernels::GatedLinearCudaArgs<T> gated{args, activation_};
      this->tell(gated);
      if constexpr (sizeof(T) == 2) {
        if (takes_warpgroups(args.tokens, 2 * args.inputs * args.outputs) &&
            kernels::linear_warpgroups_fit(gated)) {
          kernels::GatedLinearCudaArgs<T> rest = gated;
          rest.product.x = normalized(args, Way::tensor_cores, 0, stream_of(context));
          check_launch(kernels::linear_by_warpgroup(rest, this->room_->multiprocessors(),
                                                    stream_of(context)),
                       this->name_);
          return;
        }
      }
    }
    if (gated_ || has_post_norm_) {
      run_apart(args, post_norm, stream_of(context));
    } else {
      this->tell(args);
      run(args, way_of(args), 0, stream_of(context));
    }
  });
}

template <typename T>
bool LinearNode<T>::takes_warpgroups(std::int64_t tokens, std::int64_t weights) {
  // From two tokens on, and for one where weights are many, they are faster than vectors, to where
  // cuBLASLt is, on an H200 (docs/CUDA_KERNELS.md).
  constexpr std::int64_t kLargeForOne = std::int64_t{5} << 20;
  constexpr std::int64_t kLargeForMany = std::int64_t{4} << 20;
  return tokens >= (weights >= kLargeForOne ? 1 : 2) &&
         tokens <= (weights > kLargeForMany ? 128 : 512);
}

template <typename T>
typename LinearNode<T>::Way LinearNode<T>::way_of(const kernels::LinearCudaArgs<T>& args) const {
  if constexpr (sizeof(T) == 2) {
    if (takes_warpgroups(args.tokens, args.inputs * args.outputs) &&
        kernels::linear_warpgroups_fit(args)) {
      return Way::tensor_cores;
    }
  } else if (ProductNode<T>::is_split(args.tokens) &&
             kernels::linear_split_fits(args.tokens, args.inputs, args.outputs)) {
    return Way::tensor_cores;
  }
  return ProductNode<T>::is_few(args.tokens, args.inputs) ? Way::few_rows : Way::library;
}

template <typename T>
std::size_t LinearNode<T>::normalized_bytes(const kernels::LinearCudaArgs<T>& args, Way way) {
  return args.norm.weight == nullptr || way == Way::few_rows
             ? 0
             : static_cast<std::size_t>(args.tokens * args.inputs) * sizeof(T);
}

template <typename T>
void LinearNode<T>::run_apart(const kernels::LinearCudaArgs<T>& args, const T* post_norm,
                              cudaStream_t stream) {
  kernels::LinearCudaArgs<T> product = args;
  product.residual = nullptr;
  if (gated_) {
    product.outputs = kernels::gated_columns(outputs_);
    product.bias = nullptr;
  }
  const std::size_t bytes =
      round_up(static_cast<std::size_t>(args.tokens * product.outputs) * sizeof(T), kAlignment);
  const Way way = way_of(product);
  product.out = static_cast<T*>(this->room_->scratch(bytes + normalized_bytes(product, way)));
  run(product, way, bytes, stream);
  if (args.tokens == 0) {
    return;
  }
  check_launch(gated_ ? kernels::gate_cuda<T>({.product = product.out,
                                               .bias = args.bias,
                                               .out = args.out,
                                               .tokens = args.tokens,
                                               .outputs = args.outputs,
                                               .activation = activation_},
                                              stream)
                      : kernels::normed_sum_cuda<T>({.product = product.out,
                                                     .norm_weight = post_norm,
                                                     .residual = args.residual,
                                                     .out = args.out,
                                                     .tokens = args.tokens,
                                                     .size = args.outputs,
                                                     .epsilon = post_epsilon_},
                                                    stream),
               this->name_);
}

template <typename T>
const T* LinearNode<T>::normalized(const kernels::LinearCudaArgs<T>& args, Way way,
                                   std::size_t scratch_in_use, cudaStream_t stream) {
  const std::size_t bytes = normalized_bytes(args, way);
  if (bytes == 0) {
    return args.x;
  }
  auto* const to = reinterpret_cast<T*>(
      static_cast<std::byte*>(this->room_->scratch(scratch_in_use + bytes)) + scratch_in_use);
  check_launch(
      kernels::norm_rows<T>(args.x, nullptr, args.norm, args.tokens, args.inputs, to, stream),
      this->name_);
  return to;
}

template <typename T>
void LinearNode<T>::run(const kernels::LinearCudaArgs<T>& args, Way way, std::size_t scratch_in_use,
                        cudaStream_t stream) {
  if (args.tokens == 0) {
    return;
  }
  if (way == Way::few_rows) {
    check_launch(kernels::linear_few_rows(args, stream), this->name_);
    return;
  }
  const T* const x = normalized(args, way, scratch_in_use, stream);
  if (way == Way::tensor_cores) {
    kernels::LinearCudaArgs<T> rest = args;
    rest.x = x;
    const int multiprocessors = this->room_->multiprocessors();
    if constexpr (sizeof(T) == 2) {
      check_launch(kernels::linear_by_warpgroup(rest, multiprocessors, stream), this->name_);
    } else {
      check_launch(kernels::linear_split(rest, multiprocessors, stream), this->name_);
    }
    return;
  }
  const kernels::Epilogue end{args.bias, args.residual, args.gelu};
  if (!this->room_->products().with_panels(CudaType<T>::kProduct, x, args.weight, end, args.out,
                                           args.tokens, args.inputs, args.outputs, stream)) {
    check_launch(kernels::linear_epilogue(args, stream), this->name_);
  }
}

template <typename T>
HeadNode<T>::HeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : ProductNode<T>(ProductRole::head, info, resources),
      soft_cap_(attribute_or<float>(info, "soft_cap", 0)) {
  check(this->norm_.exists() && !has_input(info, kBias) && soft_cap_ >= 0, this->name_,
        "there is no kernel for a Head that has a bias, no norm or a soft_cap below 0");
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
    args.norm = this->norm_.template args<T>(context, args.inputs);
    args.out = raw_output<T>(context, 0, Shape{x_shape[0], selected, args.outputs});
    if (soft_cap_ == 0) {
      this->tell(args);
    }
    if (args.tokens > 0) {
      run(args, stream_of(context));
      if (soft_cap_ > 0) {
        check_launch(kernels::cap_logits_cuda(args.out, args.tokens * args.outputs, soft_cap_,
                                              stream_of(context)),
                     this->name_);
      }
    }
  });
}

template <typename T>
void HeadNode<T>::run(const kernels::HeadCudaArgs<T>& args, cudaStream_t stream) {
  DeviceRoom& room = *this->room_;
  const bool splits = this->is_split(args.tokens) &&
                      kernels::head_split_fits(args.tokens, args.inputs, args.outputs);
  if (!splits && this->is_few(args.tokens, args.inputs)) {
    check_launch(kernels::head_few_rows(args, room.multiprocessors(), stream), this->name_);
    return;
  }
  auto* normalized = static_cast<T*>(
      room.scratch(static_cast<std::size_t>(args.tokens * args.inputs) * sizeof(T)));
  check_launch(kernels::norm_rows<T>(args.x, args.positions, args.norm, args.tokens, args.inputs,
                                     normalized, stream),
               this->name_);
  if constexpr (sizeof(T) == 2) {
    constexpr std::int64_t kMany = 32;  // from where on warpgroups are faster, on an H200
    kernels::HeadCudaArgs<T> rest = args;
    rest.x = normalized;
    if (args.tokens > kMany && kernels::head_warpgroups_fit(args)) {
      check_launch(kernels::head_by_warpgroup(rest, room.multiprocessors(), stream), this->name_);
      return;
    }
    if (kernels::head_some_rows_fit(args.tokens, args.inputs)) {
      check_launch(kernels::head_some_rows(rest, room.multiprocessors(), stream), this->name_);
      return;
    }
  } else if (splits) {
    kernels::HeadCudaArgs<T> rest = args;
    rest.x = normalized;
    check_launch(kernels::head_split(rest, room.multiprocessors(), stream), this->name_);
    return;
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
