#include "ort/cuda/value_head_node.hpp"

#include <algorithm>

namespace kvcache::ort {
namespace {

void check_vector(const OrtKernelInfo* info, std::size_t input, std::int64_t size,
                  const std::string& node) {
  check(declared_shape(info, input) == Shape{size}, node,
        "a bias and a norm's weight must have as many elements as what they are added to");
}

}  // namespace

template <typename T>
ValueHeadNode<T>::ValueHeadNode(const OrtKernelInfo* info, const CudaNodeResources& resources)
    : ToldNode(kName, info, resources), norm_(info, name_, kValueNormWeight, kValueNormBias) {
  const Ort::ConstKernelInfo node(info);
  check(norm_.exists(), name_, "there is no kernel for a value head without a norm");
  fixed_.inputs = declared_shape(info, kValueNormWeight).at(0);
  fixed_.layer_epsilon = attribute_or(info, "layer_epsilon", 0.0F);
  fixed_.activation = choice(info, name_, "activation", kValueActivations);
  fixed_.output_activation = choice(info, name_, "output_activation", kValueActivations);
  std::int64_t width = fixed_.inputs;
  std::int64_t widest = 0;
  for (std::size_t layer = 0; layer < kernels::kMostValueLayers; ++layer) {
    const std::size_t first = kValueLayers + kValueLayerInputs * layer;
    if (has_input(info, first)) {
      add_layer(info, first, width);
      width = layers_.back().outputs;
      widest = std::max(widest, width);
    }
  }
  check(declared_shape(info, kValueOutputWeight) == Shape{1, width}, name_,
        "output_weight must be [1, its inputs]");
  check_vector(info, kValueOutputBias, 1, name_);
  check(kernels::value_head_fits(fixed_.inputs, widest), name_,
        "a token and the results of two layers must fit the 200 KiB of a block's shared memory; "
        "run on the CPU (--device cpu)");
  fixed_.num_layers = static_cast<int>(layers_.size());
  resources.facts.norms.insert_or_assign(node.GetNodeName(), norm_.epsilon());
}

template <typename T>
void ValueHeadNode<T>::add_layer(const OrtKernelInfo* info, std::size_t first_input,
                                 std::int64_t inputs) {
  const Shape weight = declared_shape(info, first_input);
  check(weight.size() == 2 && weight[1] == inputs, name_,
        "a layer's weight must be [outputs, inputs], of as many inputs as what comes before it has "
        "outputs");
  check(has_input(info, first_input + 1), name_, "a layer must have a bias");
  const bool norm = has_input(info, first_input + 2);
  check(norm == has_input(info, first_input + 3), name_,
        "there is a kernel for a layer_norm with a bias, no other");
  for (std::size_t input = first_input + 1; input <= first_input + (norm ? 3 : 1); ++input) {
    check_vector(info, input, weight[0], name_);
  }
  layers_.push_back({first_input, weight[0], norm});
}

template <typename T>
OrtStatusPtr ValueHeadNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto weight = [&](std::size_t input) { return raw_data<T>(context.GetInput(input)); };
    const auto x = context.GetInput(kValueX);
    const auto positions = context.GetInput(kValuePositions);
    const Shape shape = shape_of(x);
    check(shape.size() == 3 && shape[2] == fixed_.inputs, name_,
          "x must be [batch, seq_len, size of the norm's weight]");
    kernels::ValueHeadCudaArgs<T> args = fixed_;
    args.x = raw_data<T>(x);
    args.positions = optional_data<std::int64_t>(positions);
    check(args.positions == nullptr || shape[0] == 1, name_,
          "logits_positions are those of a batch of one");
    const std::int64_t count = args.positions == nullptr ? shape[1] : shape_of(positions)[0];
    args.norm = norm_.args<T>(context, fixed_.inputs);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      args.layers[i] = {.weight = weight(layer.first_input),
                        .bias = weight(layer.first_input + 1),
                        .norm_weight = layer.norm ? weight(layer.first_input + 2) : nullptr,
                        .norm_bias = layer.norm ? weight(layer.first_input + 3) : nullptr,
                        .outputs = layer.outputs};
    }
    args.output_weight = weight(kValueOutputWeight);
    args.output_bias = weight(kValueOutputBias);
    args.tokens = shape[0] * count;
    args.out = raw_output<T>(context, 0, Shape{shape[0], count, 1});
    tell(args);
    if (args.tokens > 0) {
      check_launch(kernels::value_head_cuda(args, stream_of(context)), name_);
    }
  });
}

template class ValueHeadNode<float>;
template class ValueHeadNode<__half>;
template class ValueHeadNode<__nv_bfloat16>;

}  // namespace kvcache::ort
