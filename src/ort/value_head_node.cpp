#include "ort/value_head_node.hpp"

#include <algorithm>
#include <new>

#include "kernels/panels.hpp"
#include "ort/selected_tokens.hpp"

namespace kvcache::ort {
namespace {

/// A weight [outputs, inputs] in panels of outputs, those beyond the last filled with zeros.
hwy::AlignedFreeUniquePtr<float[]> in_panels(const float* weight, std::int64_t outputs,
                                             std::int64_t inputs) {
  const std::int64_t panels = kernels::panel_count(outputs);
  const auto floats = static_cast<std::size_t>(panels * inputs * kernels::kPanelColumns);
  auto packed = hwy::AllocateAligned<float>(floats);
  if (!packed) {
    throw std::bad_alloc();
  }
  std::fill_n(packed.get(), floats, 0.0F);
  for (std::int64_t output = 0; output < outputs; ++output) {
    float* const column = packed.get() +
                          output / kernels::kPanelColumns * inputs * kernels::kPanelColumns +
                          output % kernels::kPanelColumns;
    for (std::int64_t input = 0; input < inputs; ++input) {
      column[input * kernels::kPanelColumns] = weight[output * inputs + input];
    }
  }
  return packed;
}

}  // namespace

ValueHeadKernel::ValueHeadKernel(const OrtKernelInfo* info, const NodeResources& resources)
    : name_(node_name(kName, info)), threads_(resources.threads) {
  const Ort::ConstKernelInfo node(info);
  head_.norm = node_norm(info, name_, kValueNormWeight, kValueNormBias,
                         constant_input(info, kValueNormWeight, name_).shape.at(0), resources);
  check(head_.norm.weight != nullptr, name_, "a ValueHead must have a norm");
  head_.layer_epsilon = attribute_or(info, "layer_epsilon", 0.0F);
  head_.activation = choice(info, name_, "activation", kValueActivations);
  head_.output_activation = choice(info, name_, "output_activation", kValueActivations);
  for (std::size_t layer = 0; layer < kernels::kMostValueLayers; ++layer) {
    const std::size_t first = kValueLayers + kValueLayerInputs * layer;
    if (has_input(info, first)) {
      add_layer(info, first, resources);
    }
  }
  const std::int64_t last =
      head_.num_layers == 0 ? head_.norm.size : head_.layers.at(head_.num_layers - 1).outputs;
  const ConstantInput output = constant_input(info, kValueOutputWeight, name_);
  check(output.shape == Shape{1, last}, name_, "output_weight must be [1, its inputs]");
  resources.store.read_in_place(output.value.GetTensorRawData(), output.elements() * sizeof(float));
  head_.output_weight = static_cast<const float*>(output.value.GetTensorRawData());
  head_.output_bias = *node_vector(info, name_, kValueOutputBias, 1, resources);
  resources.facts.norms.insert_or_assign(node.GetNodeName(), head_.norm.epsilon);
  resources.weights.value_heads.insert_or_assign(node.GetNodeName(), head_);
}

void ValueHeadKernel::add_layer(const OrtKernelInfo* info, std::size_t first_input,
                                const NodeResources& resources) {
  kernels::ValueHeadLayer layer;
  layer.inputs =
      head_.num_layers == 0 ? head_.norm.size : head_.layers.at(head_.num_layers - 1).outputs;
  const ConstantInput weight = constant_input(info, first_input, name_);
  check(weight.shape.size() == 2 && weight.shape[1] == layer.inputs, name_,
        "a layer's weight must be [outputs, inputs], of as many inputs as what comes before it has "
        "outputs");
  layer.outputs = weight.shape[0];
  panels_.push_back(in_panels(static_cast<const float*>(weight.value.GetTensorRawData()),
                              layer.outputs, layer.inputs));
  layer.weight = panels_.back().get();
  layer.bias = node_vector(info, name_, first_input + 1, layer.outputs, resources);
  layer.norm_weight = node_vector(info, name_, first_input + 2, layer.outputs, resources);
  layer.norm_bias = node_vector(info, name_, first_input + 3, layer.outputs, resources);
  check(layer.bias != nullptr, name_, "a layer must have a bias");
  check((layer.norm_weight == nullptr) == (layer.norm_bias == nullptr), name_,
        "there is a kernel for a layer_norm with a bias, no other");
  head_.layers.at(head_.num_layers++) = layer;
}

OrtStatusPtr ValueHeadKernel::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    const Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(kValueX);
    Shape shape = shape_of(x);
    check(shape.size() == 3 && shape[2] == head_.norm.size, name_,
          "x must be [batch, seq_len, size of the norm's weight]");
    kernels::ValueHeadRun run;
    run.x = x.GetTensorData<float>();
    if (const SelectedTokens of =
            selected_tokens(context.GetInput(kValuePositions), shape[1], name_);
        of.positions != nullptr) {
      run.selected = of.positions;
      run.selected_count = of.count;
      run.batch_tokens = shape[1];
      shape[1] = of.count;
    }
    shape[2] = 1;
    run.tokens = shape[0] * shape[1];
    run.out = context.GetOutput(0, shape).GetTensorMutableData<float>();
    kernels::value_head_cpu(head_, run, threads_);
  });
}

}  // namespace kvcache::ort
