#include "ort/node_resources.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

namespace kvcache::ort {
namespace {

template <typename T>
const T* kept(const ConstantInput& input, const NodeResources& resources) {
  return static_cast<const T*>(
      resources.store.keep(input.value.GetTensorRawData(), input.elements() * sizeof(T)));
}

/// The name of a matrix's type, in config.json's terms.
template <typename W>
constexpr const char* type_name() {
  return std::is_same_v<W, float> ? "float32" : std::is_same_v<W, Float16> ? "float16" : "bfloat16";
}

NodeMatrix quantized_matrix(const OrtKernelInfo* info, const std::string& node,
                            const WeightInputs& inputs, const NodeResources& resources) {
  const Ort::ConstKernelInfo attributes(info);
  kernels::QuantizedWeight weight;
  weight.inputs = attributes.GetAttribute<std::int64_t>("inputs");
  weight.outputs = attributes.GetAttribute<std::int64_t>("outputs");
  weight.block_size = attributes.GetAttribute<std::int64_t>("block_size");
  weight.bits = attributes.GetAttribute<std::int64_t>("bits");
  weight.minimums = attribute_or<std::int64_t>(info, "minimums", 0) != 0;
  weight.matrices = inputs.matrices;
  const std::int64_t block_size = weight.block_size;
  if (block_size < 16 || block_size > kernels::QuantizedWeight::kLargestBlock ||
      (block_size & (block_size - 1)) != 0) {
    fail(fmt::format("{}: block_size is {}, must be 16, 32, 64, 128 or 256", node, block_size));
  }
  if (weight.bits != 8 && weight.bits != 4) {
    fail(fmt::format("{}: bits is {}, must be 8 or 4", node, weight.bits));
  }
  check(weight.bits == 4 || !weight.minimums, node, "minimums are of blocks of 4 bits");
  check(weight.inputs > 0 && weight.outputs > 0, node, "inputs and outputs must be positive");
  const ConstantInput values = constant_input(info, inputs.weight, node);
  const ConstantInput scales = constant_input(info, inputs.scales, node);
  check(values.shape == Shape{weight.panels(), weight.groups(), kernels::kPanelColumns,
                              kernels::QuantizedWeight::kGroupInputs},
        node,
        "weight must be packed: [ceil(outputs / 64), padded inputs · bits / 32, 64, 4], twice as "
        "many panels where it is gated");
  check(scales.shape ==
            Shape{weight.panels(), weight.blocks() * weight.scale_rows(), kernels::kPanelColumns},
        node,
        "weight_scales must be [ceil(outputs / 64), ceil(inputs / block_size), 64], twice as many "
        "panels where it is gated, and twice as many blocks with minimums");
  weight.values = kept<std::uint8_t>(values, resources);
  weight.scales = kept<Float16>(scales, resources);
  resources.facts.weights.emplace(weight.bits == 8 ? "int8" : weight.minimums ? "uint4" : "int4");
  return {weight, weight.inputs, weight.outputs};
}

}  // namespace

template <typename W>
NodeMatrix node_matrix(const OrtKernelInfo* info, const std::string& node,
                       const WeightInputs& inputs, const NodeResources& resources) {
  if constexpr (std::is_same_v<W, std::uint8_t>) {
    return quantized_matrix(info, node, inputs, resources);
  } else {
    const ConstantInput weight = constant_input(info, inputs.weight, node);
    resources.facts.weights.emplace(type_name<W>());
    if (inputs.order == kernels::WeightOrder::rows) {
      check(weight.shape.size() == 2, node, "weight must be [outputs, inputs]");
      return {kept<W>(weight, resources), weight.shape[1], weight.shape[0]};
    }
    const auto outputs = Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("outputs");
    check(weight.shape.size() == 3 &&
              weight.shape[0] == inputs.matrices * kernels::panel_count(outputs) &&
              weight.shape[2] == kernels::kPanelColumns,
          node,
          "weight must be packed: [ceil(outputs / 64), inputs, 64], twice as many panels where it "
          "is gated");
    return {kept<W>(weight, resources), weight.shape[1], outputs};
  }
}

template NodeMatrix node_matrix<float>(const OrtKernelInfo*, const std::string&,
                                       const WeightInputs&, const NodeResources&);
template NodeMatrix node_matrix<Float16>(const OrtKernelInfo*, const std::string&,
                                         const WeightInputs&, const NodeResources&);
template NodeMatrix node_matrix<BFloat16>(const OrtKernelInfo*, const std::string&,
                                          const WeightInputs&, const NodeResources&);
template NodeMatrix node_matrix<std::uint8_t>(const OrtKernelInfo*, const std::string&,
                                              const WeightInputs&, const NodeResources&);

kernels::TokenNormArgs node_norm(const OrtKernelInfo* info, const std::string& node,
                                 std::size_t weight_input, std::size_t bias_input,
                                 std::int64_t size, const NodeResources& resources) {
  using kernels::NormKind;
  constexpr std::pair<const char*, std::optional<NormKind>> kKinds[]{
      {"", std::nullopt}, {"layer_norm", NormKind::layer}, {"rms_norm", NormKind::rms}};
  kernels::TokenNormArgs norm;
  norm.size = size;
  const auto kind = choice(info, node, "norm", kKinds);
  if (!kind) {
    return norm;
  }
  norm.kind = *kind;
  norm.weight = node_vector(info, node, weight_input, size, resources);
  norm.bias = node_vector(info, node, bias_input, size, resources);
  norm.epsilon = Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon");
  check(norm.weight != nullptr, node, "a norm must have norm_weight");
  check(norm.kind == NormKind::layer || norm.bias == nullptr, node,
        "an rms_norm must have no norm_bias");
  return norm;
}

const float* node_vector(const OrtKernelInfo* info, const std::string& node, std::size_t input,
                         std::int64_t size, const NodeResources& resources) {
  if (!has_input(info, input)) {
    return nullptr;
  }
  const ConstantInput vector = constant_input(info, input, node);
  if (vector.shape != Shape{size}) {
    fail(fmt::format("{}: input {} must be [{}]", node, input, size));
  }
  resources.store.read_in_place(vector.value.GetTensorRawData(), vector.elements() * sizeof(float));
  return static_cast<const float*>(vector.value.GetTensorRawData());
}

}  // namespace kvcache::ort
