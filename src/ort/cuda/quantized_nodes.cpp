#include "ort/cuda/quantized_nodes.hpp"

#include <cstddef>

#include "base/rounding.hpp"
#include "kernels/cuda/after_product_cuda.hpp"
#include "ort/cuda/product_nodes.hpp"
#include "ort/quantized_sizes.hpp"

namespace kvcache::ort {
namespace {

constexpr std::pair<const char*, kernels::AccuracyLevel> kRoundings[]{
    {"", kernels::AccuracyLevel::float32}, {"int8", kernels::AccuracyLevel::int8}};

/// The weight with its data on the device.
kernels::QuantizedWeight with_data(kernels::QuantizedWeight weight,
                                   const Ort::KernelContext& context, std::size_t values,
                                   std::size_t scales) {
  weight.values = raw_data<std::uint8_t>(context.GetInput(values));
  weight.scales = raw_data<Float16>(context.GetInput(scales));
  return weight;
}

kernels::QuantizedWeight sizes_of(const OrtKernelInfo* info, const std::string& node,
                                  std::int64_t matrices, std::size_t values, std::size_t scales,
                                  GraphFacts& facts) {
  check(has_input(info, scales), node, "a quantised weight must have its scales");
  const kernels::QuantizedWeight weight = quantized_sizes(
      info, node, matrices, declared_shape(info, values), declared_shape(info, scales));
  facts.weights.emplace(quantized_name(weight));
  return weight;
}

}  // namespace

QuantizedEmbeddingNode::QuantizedEmbeddingNode(const OrtKernelInfo* info,
                                               const CudaNodeResources& resources)
    : ToldNode(kName, info, resources),
      tokens_(sizes_of(info, name_, 1, kTokenWeight, kTokenScales, resources.facts)),
      has_positions_(has_input(info, kPositionWeight)),
      scale_(attribute_or<float>(info, "scale", 1)) {
  resources.facts.embedding = {tokens_.outputs, std::nullopt, tokens_.inputs, scale_};
  if (has_positions_) {
    const Shape positions = declared_shape(info, kPositionWeight);
    check(positions.size() == 2 && positions[1] == tokens_.inputs, name_,
          "position_weight must be [max_seq_len, size], with the size of the tokens' rows");
    resources.facts.embedding->max_seq_len = positions[0];
  }
}

OrtStatusPtr QuantizedEmbeddingNode::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto input_ids = context.GetInput(kInputIds);
    const auto position_ids = context.GetInput(kPositionIds);
    const Shape shape = shape_of(input_ids);
    check(shape.size() == 2 && shape_of(position_ids) == shape, name_,
          "input_ids and position_ids must be [batch, seq_len]");
    kernels::QuantizedEmbeddingCudaArgs args;
    args.input_ids = raw_data<std::int64_t>(input_ids);
    args.position_ids = raw_data<std::int64_t>(position_ids);
    args.weight = with_data(tokens_, context, kTokenWeight, kTokenScales);
    args.tokens = shape[0] * shape[1];
    args.scale = scale_;
    if (has_positions_) {
      const auto position_weight = context.GetInput(kPositionWeight);
      args.position_weight = raw_data<float>(position_weight);
      args.max_seq_len = shape_of(position_weight)[0];
    }
    tell(args);
    args.out = raw_output<float>(context, 0, Shape{shape[0], shape[1], tokens_.inputs});
    if (args.tokens > 0) {
      check_launch(kernels::quantized_embedding_cuda(args, stream_of(context)), name_);
    }
  });
}

QuantizedProductNode::QuantizedProductNode(ProductRole role, const OrtKernelInfo* info,
                                           const CudaNodeResources& resources)
    : ToldNode(product_name(role), info, resources),
      room_(resources.room),
      norm_(info, name_, kNormWeight, kNormBias),
      weight_(
          sizes_of(info, name_, is_gated(info) ? 2 : 1, kWeight, kWeightScales, resources.facts)),
      accuracy_(choice(info, name_, "round_input", kRoundings)),
      activation_(choice(info, name_, "activation", kActivations)),
      has_bias_(has_input(info, kBias)) {
  if (accuracy_ == kernels::AccuracyLevel::int8) {
    resources.facts.rounded_to.emplace("int8");
  }
  tell_product(info, role, weight_.outputs, norm_.epsilon(), resources.facts);
}

kernels::QuantizedLinearCudaArgs QuantizedProductNode::args(const Ort::KernelContext& context,
                                                            const Shape& x_shape) const {
  check(x_shape.size() == 3 && x_shape[2] == weight_.inputs, name_,
        "x must be [batch, seq_len, inputs]");
  kernels::QuantizedLinearCudaArgs args;
  args.x = raw_data<float>(context.GetInput(kX));
  args.norm = norm_.args<float>(context, weight_.inputs);
  args.weight = with_data(weight_, context, kWeight, kWeightScales);
  args.bias =
      vector_of<float>(context, has_bias_, kBias, weight_.matrices * weight_.outputs, name_);
  args.activation = activation_;
  args.accuracy = accuracy_;
  return args;
}

std::size_t QuantizedProductNode::scratch_bytes(
    const kernels::QuantizedLinearCudaArgs& args) const {
  return round_up(kernels::quantized_linear_scratch(args), kAlignment);
}

void QuantizedProductNode::run(const kernels::QuantizedLinearCudaArgs& args,
                               std::size_t bytes_before, cudaStream_t stream) const {
  auto* const scratch = static_cast<std::byte*>(room_->scratch(bytes_before + scratch_bytes(args)));
  check_launch(kernels::quantized_linear_cuda(args, scratch + bytes_before,
                                              room_->multiprocessors(), stream),
               name_);
}

QuantizedLinearNode::QuantizedLinearNode(const OrtKernelInfo* info,
                                         const CudaNodeResources& resources)
    : QuantizedProductNode(ProductRole::linear, info, resources),
      has_post_norm_(has_input(info, kPostNormWeight)),
      post_epsilon_(has_post_norm_ ? attribute_or<float>(info, "epsilon", 0) : 0) {
  const bool gated = weight_.matrices == 2;
  const bool activates = activation_ != kernels::Activation::none;
  check(!gated || (activates && !has_post_norm_), name_,
        "there is no kernel for a gate without an activation, or before a norm");
  check(!has_post_norm_ || (!norm_.exists() && !activates), name_,
        "there is no kernel for a norm behind a product with a norm or an activation");
}

OrtStatusPtr QuantizedLinearNode::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const Shape shape = shape_of(context.GetInput(kX));
    kernels::QuantizedLinearCudaArgs args = this->args(context, shape);
    const Shape out_shape{shape[0], shape[1], weight_.outputs};
    args.tokens = shape[0] * shape[1];
    if (kResidual < context.GetInputCount()) {
      const auto residual = context.GetInput(kResidual);
      if (static_cast<const OrtValue*>(residual) != nullptr) {
        check(shape_of(residual) == out_shape, name_, "residual must be [batch, seq_len, outputs]");
        args.residual = raw_data<float>(residual);
      }
    }
    args.out = raw_output<float>(context, 0, out_shape);
    const float* const post_norm =
        vector_of<float>(context, has_post_norm_, kPostNormWeight, weight_.outputs, name_);
    if (args.tokens == 0) {
      return;
    }
    if (has_post_norm_) {
      run_before_norm(args, post_norm, stream_of(context));
    } else {
      tell(args);
      run(args, 0, stream_of(context));
    }
  });
}

void QuantizedLinearNode::run_before_norm(kernels::QuantizedLinearCudaArgs args,
                                          const float* post_norm, cudaStream_t stream) const {
  const std::size_t bytes =
      round_up(static_cast<std::size_t>(args.tokens * weight_.outputs) * sizeof(float), kAlignment);
  auto* const product = static_cast<float*>(room_->scratch(bytes + scratch_bytes(args)));
  const kernels::NormedSumCudaArgs<float> sum{.product = product,
                                              .norm_weight = post_norm,
                                              .residual = args.residual,
                                              .out = args.out,
                                              .tokens = args.tokens,
                                              .size = weight_.outputs,
                                              .epsilon = post_epsilon_};
  args.residual = nullptr;
  args.out = product;
  run(args, bytes, stream);
  check_launch(kernels::normed_sum_cuda(sum, stream), name_);
}

QuantizedHeadNode::QuantizedHeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : QuantizedProductNode(ProductRole::head, info, resources),
      soft_cap_(attribute_or<float>(info, "soft_cap", 0)) {
  check(norm_.exists() && !has_bias_ && soft_cap_ >= 0, name_,
        "there is no kernel for a Head that has a bias, no norm or a soft_cap below 0");
}

OrtStatusPtr QuantizedHeadNode::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto positions = context.GetInput(kPositions);
    const Shape shape = shape_of(context.GetInput(kX));
    kernels::QuantizedLinearCudaArgs args = this->args(context, shape);
    args.positions = optional_data<std::int64_t>(positions);
    check(args.positions == nullptr || shape[0] == 1, name_,
          "logits_positions are those of a batch of one");
    const std::int64_t selected = args.positions == nullptr ? shape[1] : shape_of(positions)[0];
    args.tokens = shape[0] * selected;
    args.out = raw_output<float>(context, 0, Shape{shape[0], selected, weight_.outputs});
    if (args.tokens == 0) {
      return;
    }
    if (soft_cap_ == 0) {
      tell(args);
    }
    run(args, 0, stream_of(context));
    if (soft_cap_ > 0) {
      check_launch(kernels::cap_logits_cuda(args.out, args.tokens * weight_.outputs, soft_cap_,
                                            stream_of(context)),
                   name_);
    }
  });
}

}  // namespace kvcache::ort
