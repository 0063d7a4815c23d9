// A model in GPT-2's form as its nodes told it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/cuda_weights.hpp"
#include "plan/cuda/fused_conditions.hpp"
#include "plan/plan.hpp"

namespace kvcache::plan {

template <typename T>
struct LayerNodes {
  kernels::LinearCudaArgs<T> qkv;
  Attend attention;
  kernels::LinearCudaArgs<T> projection;
  kernels::LinearCudaArgs<T> expansion;
  kernels::LinearCudaArgs<T> contraction;

  [[nodiscard]] const kernels::LinearCudaArgs<T>& product(kernels::LayerWeight weight) const {
    switch (weight) {
      case kernels::LayerWeight::qkv:
        return qkv;
      case kernels::LayerWeight::projection:
        return projection;
      case kernels::LayerWeight::expansion:
        return expansion;
      case kernels::LayerWeight::contraction:
        break;
    }
    return contraction;
  }
};

/// A plan's operations with their weights.
template <typename T>
struct StepNodes {
  kernels::EmbeddingCudaArgs<T> embedding;
  std::vector<LayerNodes<T>> layers;
  kernels::HeadCudaArgs<T> head;
  std::optional<kernels::ValueHeadCudaArgs<T>> value;
  std::size_t value_output = 0;  // which of the outputs it is

  /// @throws NotFused
  StepNodes(const Plan& plan, const CudaWeights& weights) : weights_(weights) {
    for (const Operation& operation : plan.operations) {
      require(!std::holds_alternative<Activate>(operation.what),
              "its activation function is not the tanh approximation of gelu");
      require_no_output(operation, true);
      if (const auto* of_value = std::get_if<Value>(&operation.what)) {
        require(!value.has_value(), "it has several values");
        value = find<kernels::ValueHeadCudaArgs<T>>(kValueHeadNode);
        value_output = of_value->output;
      }
      if (const auto* attend = std::get_if<Attend>(&operation.what)) {
        layers.push_back(layer(*attend));
      }
    }
    embedding = find<kernels::EmbeddingCudaArgs<T>>(kEmbeddingNode);
    head = find<kernels::HeadCudaArgs<T>>(kHeadNode);
    check();
  }

  [[nodiscard]] kernels::FusedSizes sizes() const {
    kernels::FusedSizes sizes;
    sizes.layers = static_cast<int>(layers.size());
    sizes.hidden = static_cast<int>(embedding.size);
    sizes.inner = static_cast<int>(layers.front().expansion.outputs);
    sizes.heads = static_cast<int>(layers.front().attention.num_heads);
    sizes.vocab_size = static_cast<int>(embedding.vocab_size);
    sizes.max_seq_len = static_cast<int>(embedding.max_seq_len);
    return sizes;
  }

 private:
  template <typename Args>
  const Args& find(const std::string& node) const {
    const auto* args = told<Args>(weights_, node);
    require(args != nullptr, "it has parts that GPT-2 has not");
    return *args;
  }

  LayerNodes<T> layer(const Attend& attend) const {
    const auto product = [&](std::string_view role) {
      return find<kernels::LinearCudaArgs<T>>(layer_node(attend.layer, role));
    };
    return {product("attention.qkv"), attend, product("attention.output"), product("mlp.up"),
            product("mlp.down")};
  }

  void check() const {
    require(embedding.position_weight != nullptr && embedding.scale == 1,
            "its embedding is scaled, or has no table of positions");
    require(!layers.empty() && layers.size() <= kernels::kMaxFusedLayers,
            "it has no or too many layers");
    for (const LayerNodes<T>& layer : layers) {
      const bool ends = layer.qkv.norm.weight != nullptr && !layer.qkv.gelu &&
                        layer.projection.norm.weight == nullptr && !layer.projection.gelu &&
                        layer.expansion.norm.weight != nullptr && layer.expansion.gelu &&
                        layer.contraction.norm.weight == nullptr && !layer.contraction.gelu;
      require(ends, "its products have not the norms and activations of GPT-2");
      require(
          !layer.attention.has_rules && layer.attention.num_heads == layer.attention.num_kv_heads,
          "its attention has more than GPT-2's");
      for (const auto* product :
           {&layer.qkv, &layer.projection, &layer.expansion, &layer.contraction}) {
        require(product->bias != nullptr &&
                    (product->norm.weight == nullptr || product->norm.bias != nullptr),
                "it has products or norms without a bias");
      }
      require(layer.qkv.norm.epsilon == head.norm.epsilon &&
                  layer.expansion.norm.epsilon == head.norm.epsilon,
              "its norms differ in epsilon");
    }
  }

  const CudaWeights& weights_;
};

}  // namespace kvcache::plan
