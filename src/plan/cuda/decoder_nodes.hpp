// A plan in Llama's or GPT-2's form, its operations with their weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/fused_decoder.hpp"
#include "plan/cuda/fused_conditions.hpp"

namespace kvcache::plan {

/// A product's weight and what comes with it: T is the type of vectors, Weight that of a matrix.
template <typename T, typename Weight>
struct DecoderMatrix {
  Weight weight = {};
  const T* bias = nullptr;  // of a gate, its own and then the other's
  kernels::NormArgs<T> norm;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  kernels::Activation activation = kernels::Activation::none;
  bool gated = false;
};

/// The embedding.
template <typename T, typename Weight>
struct DecoderTokens {
  Weight weight = {};
  std::int64_t size = 0;
  std::int64_t vocab_size = 0;
  float scale = 1;
  const T* position_weight = nullptr;  // [positions, size], or null
  std::int64_t positions = 0;
};

/// What nodes told of weights of 16 bits.
template <typename T>
struct SixteenBitNodes {
  using Vector = T;
  using Weight = const T*;
  using Matrix = DecoderMatrix<T, Weight>;
  using Tokens = DecoderTokens<T, Weight>;
  static constexpr bool kLayerNorms = true;  // are taken

  /// False where the node told nothing of the kind.
  static bool find(const CudaWeights& weights, const std::string& node, Matrix& to) {
    if (const auto* gated = told<kernels::GatedLinearCudaArgs<T>>(weights, node)) {
      set(gated->product, to);
      to.activation = gated->activation;
      to.gated = true;
      return true;
    }
    const auto* linear = told<kernels::LinearCudaArgs<T>>(weights, node);
    if (linear != nullptr) {
      set(*linear, to);
    }
    return linear != nullptr;
  }
  static bool find_head(const CudaWeights& weights, Matrix& to) {
    const auto* head = told<kernels::HeadCudaArgs<T>>(weights, kHeadNode);
    if (head != nullptr) {
      to = {.weight = head->weight,
            .norm = head->norm,
            .inputs = head->inputs,
            .outputs = head->outputs};
    }
    return head != nullptr;
  }
  static bool find_tokens(const CudaWeights& weights, Tokens& to) {
    const auto* tokens = told<kernels::EmbeddingCudaArgs<T>>(weights, kEmbeddingNode);
    if (tokens != nullptr) {
      to = {tokens->token_weight,    tokens->size,       tokens->vocab_size, tokens->scale,
            tokens->position_weight, tokens->max_seq_len};
    }
    return tokens != nullptr;
  }

 private:
  static void set(const kernels::LinearCudaArgs<T>& args, Matrix& to) {
    to.weight = args.weight;
    to.bias = args.bias;
    to.norm = args.norm;
    to.inputs = args.inputs;
    to.outputs = args.outputs;
    to.activation = args.gelu ? kernels::Activation::gelu_tanh : kernels::Activation::none;
  }
};

/// Of quantised weights.
struct QuantizedNodes {
  using Vector = float;
  using Weight = kernels::QuantizedWeight;
  using Matrix = DecoderMatrix<float, Weight>;
  using Tokens = DecoderTokens<float, Weight>;
  static constexpr bool kLayerNorms = false;  // integers are rounded before the mean is known

  /// @throws NotFused where the product is none of integers
  static bool find(const CudaWeights& weights, const std::string& node, Matrix& to) {
    const auto* linear = told<kernels::QuantizedLinearCudaArgs>(weights, node);
    if (linear == nullptr) {
      return false;
    }
    require(linear->accuracy == kernels::AccuracyLevel::int8,
            "its products do not round what they multiply with to int8");
    to = {.weight = linear->weight,
          .bias = linear->bias,
          .norm = linear->norm,
          .inputs = linear->weight.inputs,
          .outputs = linear->weight.outputs,
          .activation = linear->activation,
          .gated = linear->weight.matrices == 2};
    return true;
  }
  static bool find_head(const CudaWeights& weights, Matrix& to) {
    return find(weights, kHeadNode, to);
  }
  static bool find_tokens(const CudaWeights& weights, Tokens& to) {
    const auto* tokens = told<kernels::QuantizedEmbeddingCudaArgs>(weights, kEmbeddingNode);
    if (tokens != nullptr) {
      to = {tokens->weight, tokens->weight.inputs,   tokens->weight.outputs,
            tokens->scale,  tokens->position_weight, tokens->max_seq_len};
    }
    return tokens != nullptr;
  }
};

/// A layer's operations with their weights.
template <typename Nodes>
struct DecoderLayer {
  Attend attention;
  kernels::AttentionRulesCuda<typename Nodes::Vector> rules;
  typename Nodes::Matrix products[kernels::kLayerProducts];  // DecoderProduct

  [[nodiscard]] const typename Nodes::Matrix& product(kernels::DecoderProduct which) const {
    return products[static_cast<int>(which)];
  }
  [[nodiscard]] const typename Nodes::Matrix& expansion() const {
    return product(kernels::DecoderProduct::expansion);
  }
};

/// A plan's operations with their weights.
template <typename Nodes>
class DecoderNodes {
 public:
  using Layer = DecoderLayer<Nodes>;

  /// @throws NotFused where it is of no form that the kernels know
  DecoderNodes(const Plan& plan, const CudaWeights& weights) : weights_(weights) {
    for (const Operation& operation : plan.operations) {
      require(!std::holds_alternative<Activate>(operation.what),
              "its activation function is no part of its product");
      require_no_output(operation);
      if (const auto* attend = std::get_if<Attend>(&operation.what)) {
        layers.push_back(layer(*attend));
      }
    }
    require_told(Nodes::find_tokens(weights_, tokens) && Nodes::find_head(weights_, head));
    check();
  }

  [[nodiscard]] kernels::DecoderSizes sizes() const {
    const Layer& first = layers.front();
    kernels::DecoderSizes sizes;
    sizes.layers = static_cast<int>(layers.size());
    sizes.hidden = static_cast<int>(tokens.size);
    sizes.inner = static_cast<int>(first.expansion().outputs);
    sizes.heads = static_cast<int>(first.attention.num_heads);
    sizes.kv_heads = static_cast<int>(first.attention.num_kv_heads);
    sizes.head_dim = static_cast<int>(first.attention.head_dim);
    sizes.vocab_size = static_cast<int>(tokens.vocab_size);
    sizes.gated = first.expansion().gated;
    sizes.layer_norms = !head.norm.is_rms;
    return sizes;
  }

  typename Nodes::Tokens tokens;
  std::vector<Layer> layers;
  typename Nodes::Matrix head;

 private:
  static void require_told(bool told) {
    require(told, "it has norms behind its products, or a soft cap of its logits");
  }

  [[nodiscard]] Layer layer(const Attend& attend) const {
    using kernels::DecoderProduct;
    const auto node = [&](std::string_view role) { return layer_node(attend.layer, role); };
    Layer of;
    of.attention = attend;
    const auto* rules =
        told<kernels::AttentionRulesCuda<typename Nodes::Vector>>(weights_, node("attention"));
    require_told(rules != nullptr);
    of.rules = *rules;
    const auto set = [&](DecoderProduct product, std::string_view role) {
      require_told(Nodes::find(weights_, node(role), of.products[static_cast<int>(product)]));
    };
    set(DecoderProduct::qkv, "attention.qkv");
    set(DecoderProduct::projection, "attention.output");
    set(DecoderProduct::expansion, "mlp.up");
    set(DecoderProduct::contraction, "mlp.down");
    return of;
  }

  void check() const {
    require(!layers.empty(), "it has no layers");
    require(Nodes::kLayerNorms || head.norm.is_rms, "its norms are no RMSNorm");
    require(tokens.position_weight == nullptr || !head.norm.is_rms,
            "it has a table of positions and RMSNorm");
    const kernels::Activation activation = layers.front().expansion().activation;
    require(activation == kernels::Activation::silu || activation == kernels::Activation::gelu_tanh,
            "its activation function is neither silu nor the tanh approximation of gelu");
    check_norm(head.norm);
    for (const Layer& layer : layers) {
      check(layer);
      require(same(layer, layers.front()), "its layers differ");
    }
  }

  void check(const Layer& layer) const {
    using kernels::DecoderProduct;
    check_norm(layer.product(DecoderProduct::qkv).norm);
    check_norm(layer.expansion().norm);
    const auto is_plain = [&](DecoderProduct product) {
      return layer.product(product).activation == kernels::Activation::none &&
             !layer.product(product).gated;
    };
    require(layer.product(DecoderProduct::projection).norm.weight == nullptr &&
                layer.product(DecoderProduct::contraction).norm.weight == nullptr &&
                is_plain(DecoderProduct::qkv) && is_plain(DecoderProduct::projection) &&
                is_plain(DecoderProduct::contraction),
            "its products have other norms or activations than Llama's");
    require(layer.rules.window == 0 && layer.attention.group == 0, "its attention has a window");
    require(layer.rules.soft_cap == 0, "its attention has a soft cap");
    check_sizes(layer);
  }

  void check_norm(const kernels::NormArgs<typename Nodes::Vector>& norm) const {
    require(norm.weight != nullptr && norm.is_rms == head.norm.is_rms &&
                (norm.bias == nullptr || !norm.is_rms),
            "its norms are of several kinds, or RMSNorm with a bias");
    require(norm.epsilon == head.norm.epsilon, "its norms differ in epsilon");
  }

  void check_sizes(const Layer& layer) const {
    const kernels::DecoderSizes of_model = sizes();
    for (const auto product : kernels::kProductsOfLayer) {
      const typename Nodes::Matrix& matrix = layer.product(product);
      require(matrix.inputs == of_model.inputs(product) &&
                  matrix.outputs * (matrix.gated ? 2 : 1) == of_model.outputs(product),
              "its products do not fit together");
    }
  }

  [[nodiscard]] static bool same(const Layer& a, const Layer& b) {
    bool products = true;
    for (int product = 0; product < kernels::kLayerProducts; ++product) {
      products = products && a.products[product].inputs == b.products[product].inputs &&
                 a.products[product].outputs == b.products[product].outputs &&
                 a.products[product].gated == b.products[product].gated &&
                 a.products[product].activation == b.products[product].activation &&
                 (a.products[product].bias == nullptr) == (b.products[product].bias == nullptr);
    }
    return products && a.attention.num_heads == b.attention.num_heads &&
           a.attention.num_kv_heads == b.attention.num_kv_heads &&
           a.attention.head_dim == b.attention.head_dim && a.rules.epsilon == b.rules.epsilon &&
           (a.rules.query_weight == nullptr) == (b.rules.query_weight == nullptr) &&
           same_rotary(a.rules.rotary, b.rules.rotary);
  }

  /// Angles that layers share are one initializer of the graph.
  [[nodiscard]] static bool same_rotary(const kernels::Rotary& a, const kernels::Rotary& b) {
    return a.cos == b.cos && a.sin == b.sin && a.dims == b.dims && a.positions == b.positions &&
           a.interleaved == b.interleaved;
  }

  const CudaWeights& weights_;
};

}  // namespace kvcache::plan
