#include "ort/node_resources.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "ort/quantized_sizes.hpp"

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
  const ConstantInput values = constant_input(info, inputs.weight, node);
  const ConstantInput scales = constant_input(info, inputs.scales, node);
  kernels::QuantizedWeight weight =
      quantized_sizes(info, node, inputs.matrices, values.shape, scales.shape);
  weight.values = kept<std::uint8_t>(values, resources);
  weight.scales = kept<Float16>(scales, resources);
  resources.facts.weights.emplace(quantized_name(weight));
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
