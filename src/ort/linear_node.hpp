// The nodes `kvcache::NormLinear`, `NormLinearGelu`, `LinearResidual` and `SelectNormHead`,
// whatever their weight: what they do beside the product. See docs/MODEL_FILE.md.
//
// Between two products of one token lies so little work that nodes of its own would cost more.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <string>

#include "kernels/cpu/layer_norm_cpu.hpp"
#include "kernels/cpu/linear_cpu.hpp"
#include "ort/tensor_access.hpp"

namespace kvcache::ort {

enum class LinearNode { norm, norm_gelu, residual, head };

/// Inputs: x, norm_weight, norm_bias, weight, bias; or x, weight, bias, residual; or x, positions,
/// norm_weight, norm_bias, weight. Scales come last.
constexpr bool has_norm(LinearNode node) { return node != LinearNode::residual; }
constexpr std::size_t norm_input(LinearNode node) { return node == LinearNode::head ? 2 : 1; }
constexpr std::size_t weight_input(LinearNode node) {
  return has_norm(node) ? norm_input(node) + 2 : 1;
}
constexpr std::size_t bias_input(LinearNode node) { return weight_input(node) + 1; }
constexpr std::size_t residual_input(LinearNode node) { return bias_input(node) + 1; }
constexpr std::size_t input_count(LinearNode node) {
  return node == LinearNode::residual ? residual_input(node) + 1
         : node == LinearNode::head   ? weight_input(node) + 1
                                      : bias_input(node) + 1;
}
constexpr bool takes_ids(LinearNode node, std::size_t input) {
  return node == LinearNode::head && input == 1;
}
constexpr kernels::Activation activation_of(LinearNode node) {
  return node == LinearNode::norm_gelu ? kernels::Activation::gelu : kernels::Activation::none;
}

/// A call's tokens: x, or the layer norm that is to be made of it.
struct TokensOfNode {
  const float* x = nullptr;
  kernels::LayerNormArgs norm;  // null weight: none
  std::int64_t batch = 0;
  std::int64_t seq_len = 0;  // of the output
  std::int64_t inputs = 0;

  [[nodiscard]] std::int64_t count() const { return batch * seq_len; }
};

/// What surrounds the product of a node.
template <LinearNode kNode>
class AroundLinear {
 public:
  explicit AroundLinear(const OrtKernelInfo* info);

  [[nodiscard]] TokensOfNode tokens(const Ort::KernelContext& context,
                                    const std::string& node) const;
  /// [outputs]
  static Ort::ConstValue bias(const Ort::KernelContext& context, const std::string& node);
  /// What is added to an output of this shape; null for nothing.
  static const float* residual(const Ort::KernelContext& context, const std::string& node,
                               const Shape& out);

 private:
  float epsilon_ = 0;
};

}  // namespace kvcache::ort
