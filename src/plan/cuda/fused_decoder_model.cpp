#include "plan/cuda/fused_decoder_model.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/fused_decoder.hpp"
#include "plan/cuda/device_memory.hpp"
#include "plan/cuda/exchange_sets.hpp"
#include "plan/cuda/fused_conditions.hpp"
#include "plan/cuda/fused_inputs.hpp"

namespace kvcache::plan {
namespace {

using kernels::DecoderProduct;

/// A layer's operations with their weights.
template <typename T>
struct DecoderLayer {
  Attend attention;
  kernels::AttentionRulesCuda<T> rules;
  kernels::LinearCudaArgs<T> products[kernels::kLayerProducts];  // DecoderProduct
  bool gated = false;
  kernels::Activation activation = kernels::Activation::none;

  [[nodiscard]] const kernels::LinearCudaArgs<T>& product(DecoderProduct which) const {
    return products[static_cast<int>(which)];
  }
};

/// A plan's operations with their weights.
template <typename T>
class DecoderNodes {
 public:
  /// @throws NotFused
  DecoderNodes(const Plan& plan, const CudaWeights& weights) : weights_(weights) {
    for (const Operation& operation : plan.operations) {
      require(!std::holds_alternative<Activate>(operation.what),
              "its activation function is no part of its product");
      require_no_output(operation);
      if (const auto* attend = std::get_if<Attend>(&operation.what)) {
        layers.push_back(layer(*attend));
      }
    }
    embedding = find<kernels::EmbeddingCudaArgs<T>>(kEmbeddingNode);
    head = find<kernels::HeadCudaArgs<T>>(kHeadNode);
    check();
  }

  [[nodiscard]] kernels::DecoderSizes sizes() const {
    const DecoderLayer<T>& first = layers.front();
    kernels::DecoderSizes sizes;
    sizes.layers = static_cast<int>(layers.size());
    sizes.hidden = static_cast<int>(embedding.size);
    sizes.inner = static_cast<int>(first.product(DecoderProduct::expansion).outputs);
    sizes.heads = static_cast<int>(first.attention.num_heads);
    sizes.kv_heads = static_cast<int>(first.attention.num_kv_heads);
    sizes.head_dim = static_cast<int>(first.attention.head_dim);
    sizes.vocab_size = static_cast<int>(embedding.vocab_size);
    sizes.gated = first.gated;
    return sizes;
  }

  kernels::EmbeddingCudaArgs<T> embedding;
  std::vector<DecoderLayer<T>> layers;
  kernels::HeadCudaArgs<T> head;

 private:
  template <typename Args>
  [[nodiscard]] const Args& find(const std::string& node) const {
    const auto* args = told<Args>(weights_, node);
    require(args != nullptr, "it has norms behind its products, or a soft cap of its logits");
    return *args;
  }

  [[nodiscard]] DecoderLayer<T> layer(const Attend& attend) const {
    const auto node = [&](std::string_view role) { return layer_node(attend.layer, role); };
    DecoderLayer<T> of;
    of.attention = attend;
    of.rules = find<kernels::AttentionRulesCuda<T>>(node("attention"));
    const auto set = [&](DecoderProduct product, const kernels::LinearCudaArgs<T>& args) {
      of.products[static_cast<int>(product)] = args;
    };
    set(DecoderProduct::qkv, find<kernels::LinearCudaArgs<T>>(node("attention.qkv")));
    set(DecoderProduct::projection, find<kernels::LinearCudaArgs<T>>(node("attention.output")));
    set(DecoderProduct::contraction, find<kernels::LinearCudaArgs<T>>(node("mlp.down")));
    if (const auto* gated = told<kernels::GatedLinearCudaArgs<T>>(weights_, node("mlp.up"))) {
      set(DecoderProduct::expansion, gated->product);
      of.gated = true;
      of.activation = gated->activation;
    } else {
      const auto& expansion = find<kernels::LinearCudaArgs<T>>(node("mlp.up"));
      set(DecoderProduct::expansion, expansion);
      of.activation = expansion.gelu ? kernels::Activation::gelu_tanh : kernels::Activation::none;
    }
    return of;
  }

  void check() const {
    require(embedding.position_weight == nullptr, "it has a table of positions");
    require(!layers.empty(), "it has no layers");
    const DecoderLayer<T>& first = layers.front();
    require(first.activation == kernels::Activation::silu ||
                first.activation == kernels::Activation::gelu_tanh,
            "its activation function is neither silu nor the tanh approximation of gelu");
    check_norm(head.norm);
    for (const DecoderLayer<T>& layer : layers) {
      check(layer);
      require(same(layer, first), "its layers differ");
    }
  }

  void check(const DecoderLayer<T>& layer) const {
    check_norm(layer.product(DecoderProduct::qkv).norm);
    check_norm(layer.product(DecoderProduct::expansion).norm);
    require(layer.product(DecoderProduct::projection).norm.weight == nullptr &&
                layer.product(DecoderProduct::contraction).norm.weight == nullptr &&
                !layer.product(DecoderProduct::qkv).gelu,
            "its products have other norms or activations than Llama's");
    require(layer.rules.window == 0 && layer.attention.group == 0, "its attention has a window");
    require(layer.rules.soft_cap == 0, "its attention has a soft cap");
  }

  void check_norm(const kernels::NormArgs<T>& norm) const {
    require(norm.weight != nullptr && norm.bias == nullptr && norm.is_rms,
            "its norms are no RMSNorm");
    require(norm.epsilon == head.norm.epsilon, "its norms differ in epsilon");
  }

  [[nodiscard]] static bool same(const DecoderLayer<T>& a, const DecoderLayer<T>& b) {
    bool products = true;
    for (int product = 0; product < kernels::kLayerProducts; ++product) {
      products = products && a.products[product].inputs == b.products[product].inputs &&
                 a.products[product].outputs == b.products[product].outputs &&
                 (a.products[product].bias == nullptr) == (b.products[product].bias == nullptr);
    }
    return products && a.gated == b.gated && a.activation == b.activation &&
           a.attention.num_heads == b.attention.num_heads &&
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

/// @throws NotFused where a model of these sizes has no kernel
kernels::DecoderSizes checked(const kernels::DecoderSizes& sizes, int multiprocessors) {
  if (const char* why_not = kernels::why_no_decoder(sizes, multiprocessors)) {
    throw NotFused(why_not);
  }
  return sizes;
}

/// The second order of the weights must leave room for sequences.
/// @throws NotFused where it takes more than half of the memory that is free
std::size_t checked(std::size_t bytes) {
  std::size_t free = 0;
  std::size_t total = 0;
  require_success(cudaMemGetInfo(&free, &total), "asking for free memory");
  require(bytes <= free / 2,
          "its weights in a second order would take more than half of the GPU's free memory");
  return bytes;
}

template <typename T>
class FusedDecoder : public FusedModel {
 public:
  /// @throws NotFused
  FusedDecoder(const DecoderNodes<T>& nodes, const StepBinding& binding, int multiprocessors,
               cudaStream_t stream)
      : multiprocessors_(multiprocessors),
        sizes_(checked(nodes.sizes(), multiprocessors)),
        places_(places(sizes_, multiprocessors)),
        places_on_device_(places_.size() * sizeof(std::int64_t)),
        stream_(checked(static_cast<std::size_t>(places_.back()) * kernels::kPieceBytes)),
        vector_layout_(vectors_of(nodes)),
        vectors_(static_cast<std::size_t>(sizes_.layers) *
                 static_cast<std::size_t>(vector_layout_.elements) * sizeof(T)),
        exchange_(exchange(kernels::kMaxSplits).words, stream) {
    check(binding);
    require_success(
        cudaMemcpyAsync(places_on_device_.as<void>(), places_.data(),
                        places_.size() * sizeof(std::int64_t), cudaMemcpyHostToDevice, stream),
        "copying where weights lie");
    // Chunks are filled up with zeros.
    require_success(
        cudaMemsetAsync(stream_.as<void>(), 0,
                        static_cast<std::size_t>(places_.back()) * kernels::kPieceBytes, stream),
        "clearing the weights");
    for (int layer = 0; layer < sizes_.layers; ++layer) {
      const auto number = static_cast<std::size_t>(layer);
      pack(nodes.layers[number], layer, stream);
      args_.pools[2 * number] = reinterpret_cast<T*>(binding.pools[2 * number]);
      args_.pools[2 * number + 1] = reinterpret_cast<T*>(binding.pools[2 * number + 1]);
      args_.scales[number] = nodes.layers[number].attention.scale;
    }
    pack(DecoderProduct::head, sizes_.layers, nodes.head.weight, stream);
    const DecoderLayer<T>& first = nodes.layers.front();
    args_.sizes = sizes_;
    args_.token_weight = nodes.embedding.token_weight;
    args_.embedding_scale = nodes.embedding.scale;
    args_.stream = stream_.as<T>();
    args_.stream_at = places_on_device_.as<std::int64_t>();
    args_.vector_layout = vector_layout_;
    args_.vectors = vectors_.as<T>();
    args_.last_norm = nodes.head.norm.weight;
    args_.epsilon = nodes.head.norm.epsilon;
    args_.query_key_epsilon = first.rules.epsilon;
    args_.activation = first.activation;
    args_.rotary = first.rules.rotary;
    args_.block_len_shift = block_len_shift(binding);
  }

  cudaError_t step(const StepBinding& inputs, void* logits, kernels::TopLogit* best,
                   const Lane& lane, const PreparedStep& /*prepared*/) override {
    args_.logits = static_cast<T*>(logits);
    args_.best = best;
    args_.inputs.input_id = *inputs.input_ids;
    args_.inputs.position_id = *inputs.position_ids;
    args_.inputs.past_length = *inputs.past_lengths;
    std::copy_n(inputs.block_table, inputs.blocks_per_row, args_.inputs.block_table);
    args_.exchange = exchange_.current();
    args_.other_exchange = exchange_.other();
    args_.other_words = last_words_;
    const kernels::DecoderExchange exchange_of_step =
        exchange(kernels::splits_of_past(sizes_, args_.inputs.past_length, multiprocessors_));
    const cudaError_t error =
        kernels::fused_decoder(args_, exchange_of_step, multiprocessors_, lane.stream);
    if (error == cudaSuccess) {
      exchange_.count_step();
      last_words_ = exchange_of_step.words;
    }
    return error;
  }

  void check(const StepBinding& binding) const override {
    require_cache(binding);
    require(is_of_one_token(binding), "of models in this form only a step of one token is");
    require(binding.blocks_per_row <= kernels::kMaxDecoderTable,
            "its block table is too long for a launch");
  }

  [[nodiscard]] MostTokens most_tokens() const noexcept override { return {.one = 1}; }

 private:
  static std::vector<std::int64_t> places(const kernels::DecoderSizes& sizes, int blocks) {
    std::vector<std::int64_t> places(static_cast<std::size_t>(blocks) * kernels::kDecoderWarps + 1);
    kernels::decoder_stream_places(sizes, blocks, places.data());
    return places;
  }

  [[nodiscard]] kernels::DecoderVectors vectors_of(const DecoderNodes<T>& nodes) const {
    const DecoderLayer<T>& first = nodes.layers.front();
    bool biases[kernels::kLayerProducts];
    for (int product = 0; product < kernels::kLayerProducts; ++product) {
      biases[product] = first.products[product].bias != nullptr;
    }
    return kernels::DecoderVectors::of(sizes_, first.rules.query_weight != nullptr, biases);
  }

  [[nodiscard]] kernels::DecoderExchange exchange(int splits) const {
    return kernels::DecoderExchange::of(sizes_, splits, multiprocessors_);
  }

  void pack(DecoderProduct product, int layer, const T* weight, cudaStream_t stream) {
    require_success(kernels::pack_decoder_weight(sizes_, layer, product, weight,
                                                 places_on_device_.as<std::int64_t>(),
                                                 multiprocessors_, stream_.as<T>(), stream),
                    "packing weights");
  }

  void pack(const DecoderLayer<T>& layer, int number, cudaStream_t stream) {
    T* const vectors = vectors_.as<T>() + std::int64_t{number} * vector_layout_.elements;
    // Every `apart`-th element of `to`.
    const auto copy = [&](T* to, const T* from, std::int64_t count, std::size_t apart = 1) {
      require_success(
          cudaMemcpy2DAsync(to, apart * sizeof(T), from, sizeof(T), sizeof(T),
                            static_cast<std::size_t>(count), cudaMemcpyDeviceToDevice, stream),
          "copying norms and biases");
    };
    copy(vectors + vector_layout_.norms[0], layer.product(DecoderProduct::qkv).norm.weight,
         sizes_.hidden);
    copy(vectors + vector_layout_.norms[1], layer.product(DecoderProduct::expansion).norm.weight,
         sizes_.hidden);
    if (vector_layout_.query_norm >= 0) {
      copy(vectors + vector_layout_.query_norm, layer.rules.query_weight, sizes_.head_dim);
      copy(vectors + vector_layout_.key_norm, layer.rules.key_weight, sizes_.head_dim);
    }
    for (int product = 0; product < kernels::kLayerProducts; ++product) {
      const auto which = static_cast<DecoderProduct>(product);
      const kernels::LinearCudaArgs<T>& args = layer.products[product];
      const bool gated = which == DecoderProduct::expansion && sizes_.gated;
      require(args.inputs == sizes_.inputs(which) &&
                  args.outputs * (gated ? 2 : 1) == sizes_.outputs(which),
              "its products do not fit together");
      pack(which, number, args.weight, stream);
      if (vector_layout_.biases[product] >= 0) {
        T* const to = vectors + vector_layout_.biases[product];
        copy(to, args.bias, args.outputs, gated ? 2 : 1);
        if (gated) {
          copy(to + 1, args.bias + args.outputs, args.outputs, 2);
        }
      }
    }
  }

  int multiprocessors_;
  kernels::DecoderSizes sizes_;
  std::vector<std::int64_t> places_;  // of the warps' streams
  DeviceMemory places_on_device_;
  DeviceMemory stream_;
  kernels::DecoderVectors vector_layout_;
  DeviceMemory vectors_;
  ExchangeSets exchange_;
  int last_words_ = 0;  // that the step before used of its set
  kernels::DecoderArgs<T> args_;
};

}  // namespace

template <typename T>
std::shared_ptr<FusedModel> fuse_decoder(const Plan& plan, const CudaWeights& weights,
                                         const StepBinding& binding, int multiprocessors,
                                         cudaStream_t stream) {
  const DecoderNodes<T> nodes(plan, weights);
  return std::make_shared<FusedDecoder<T>>(nodes, binding, multiprocessors, stream);
}

template std::shared_ptr<FusedModel> fuse_decoder<__half>(const Plan&, const CudaWeights&,
                                                          const StepBinding&, int, cudaStream_t);
template std::shared_ptr<FusedModel> fuse_decoder<__nv_bfloat16>(const Plan&, const CudaWeights&,
                                                                 const StepBinding&, int,
                                                                 cudaStream_t);

}  // namespace kvcache::plan
