// The norm that a node on CUDA begins with.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "kernels/cuda/linear_cuda.hpp"
#include "ort/cuda/node_access.hpp"

namespace kvcache::ort {

/// What a node says of it, and where its weights are among the inputs.
class NodeNorm {
 public:
  /// @throws Ort::Exception where the node's attribute and inputs do not say the same
  NodeNorm(const OrtKernelInfo* info, const std::string& node, std::size_t weight_input,
           std::size_t bias_input)
      : node_(node), weight_input_(weight_input), bias_input_(bias_input) {
    constexpr std::pair<const char*, std::optional<bool>> kIsRms[]{
        {"", std::nullopt}, {"layer_norm", false}, {"rms_norm", true}};
    const std::optional<bool> is_rms = choice(info, node, "norm", kIsRms);
    exists_ = is_rms.has_value();
    is_rms_ = is_rms.value_or(false);
    has_bias_ = has_input(info, bias_input);
    check(has_input(info, weight_input) == exists_, node,
          "norm_weight must be there where there is a norm, and only then");
    check(!has_bias_ || (exists_ && !is_rms_), node, "a norm_bias must be a layer_norm's");
    if (exists_) {
      epsilon_ = Ort::ConstKernelInfo(info).GetAttribute<float>("epsilon");
    }
  }

  [[nodiscard]] bool exists() const noexcept { return exists_; }
  [[nodiscard]] float epsilon() const noexcept { return epsilon_; }  // 0 without a norm

  /// For rows of `size` elements; of no norm where the node has none.
  /// @throws Ort::Exception where weight or bias are of another size
  template <typename T>
  [[nodiscard]] kernels::NormArgs<T> args(const Ort::KernelContext& context,
                                          std::int64_t size) const {
    kernels::NormArgs<T> norm;
    if (!exists_) {
      return norm;
    }
    const auto vector = [&](std::size_t input) {
      const auto value = context.GetInput(input);
      if (shape_of(value) != Shape{size}) {
        fail(fmt::format("{}: its norm's weight and bias must be [{}]", node_, size));
      }
      return raw_data<T>(value);
    };
    norm.weight = vector(weight_input_);
    norm.bias = has_bias_ ? vector(bias_input_) : nullptr;
    norm.epsilon = epsilon_;
    norm.is_rms = is_rms_;
    return norm;
  }

 private:
  std::string node_;  // for messages
  std::size_t weight_input_;
  std::size_t bias_input_;
  bool exists_ = false;
  bool is_rms_ = false;
  bool has_bias_ = false;
  float epsilon_ = 0;
};

}  // namespace kvcache::ort
