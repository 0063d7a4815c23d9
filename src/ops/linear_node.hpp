// The nodes `kvcache::NormLinear`, `NormLinearGelu` and `LinearResidual`, whatever their weight:
// what they do beside the product. See docs/MODEL_FILE.md.
//
// Between two products of one token lies so little work that nodes of its own would cost more.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <string>

#include "ops/cpu/linear_cpu.hpp"
#include "ops/parallel_for.hpp"
#include "ops/tensor_access.hpp"

namespace kvcache::ops {

enum class LinearNode { norm, norm_gelu, residual };

/// Inputs: x, norm_weight, norm_bias, weight, bias; or x, weight, bias, residual. Scales come last.
constexpr bool has_norm(LinearNode node) { return node != LinearNode::residual; }
constexpr std::size_t weight_input(LinearNode node) { return has_norm(node) ? 3 : 1; }
constexpr std::size_t bias_input(LinearNode node) { return weight_input(node) + 1; }
constexpr std::size_t residual_input(LinearNode node) { return bias_input(node) + 1; }
constexpr std::size_t input_count(LinearNode node) { return has_norm(node) ? 5 : 4; }
constexpr Activation activation_of(LinearNode node) {
  return node == LinearNode::norm_gelu ? Activation::gelu : Activation::none;
}

/// What surrounds the product of a node.
template <LinearNode kNode>
class AroundLinear {
 public:
  explicit AroundLinear(const OrtKernelInfo* info);

  /// The tokens to be multiplied, of x's shape, which is given and checked: x, or its layer norm in
  /// memory of this thread.
  const float* tokens(Ort::KernelContext& context, const std::string& node, const Shape& x_shape,
                      const ParallelFor& parallel_for) const;
  /// What is added to an output of this shape; null for nothing.
  static const float* residual(Ort::KernelContext& context, const std::string& node,
                               const Shape& out);

 private:
  float epsilon_ = 0;
};

}  // namespace kvcache::ops
