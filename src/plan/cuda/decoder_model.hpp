// A model in Llama's or GPT-2's form made ready for steps of few tokens, whatever its weights are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/cuda/decoder_nodes.hpp"
#include "plan/cuda/device_memory.hpp"
#include "plan/cuda/exchange_sets.hpp"
#include "plan/cuda/fused_inputs.hpp"
#include "plan/cuda/fused_model.hpp"

namespace kvcache::plan {

/// Kernel says what its kernel takes and how weights are packed for it: Nodes, Args, Sizes, Cache,
/// kElements (of the exchange), kPlaceBytes (what places of streams count), sizes_of(),
/// why_not(), most_tokens(), places(), pack(), set_weights() and launch(); where Nodes has
/// kLayerNorms, pack_normed() and set_normed().
template <typename Kernel>
class DecoderModel : public FusedModel {
  using Nodes = DecoderNodes<typename Kernel::Nodes>;
  using Layer = typename Nodes::Layer;
  using Vector = typename Kernel::Nodes::Vector;
  using Matrix = typename Kernel::Nodes::Matrix;
  using Cache = typename Kernel::Cache;

 public:
  /// @throws NotFused
  DecoderModel(const Nodes& nodes, const StepBinding& binding, int multiprocessors,
               cudaStream_t stream)
      : multiprocessors_(multiprocessors),
        sizes_(checked_sizes(Kernel::sizes_of(nodes), multiprocessors)),
        most_tokens_(Kernel::most_tokens(sizes_, multiprocessors)),
        places_(places(sizes_, multiprocessors)),
        places_on_device_(places_.size() * sizeof(std::int64_t)),
        stream_(checked_bytes(static_cast<std::size_t>(places_.back()) * Kernel::kPlaceBytes)),
        vector_layout_(vectors_of(nodes)),
        vectors_(static_cast<std::size_t>(sizes_.layers) *
                 static_cast<std::size_t>(vector_layout_.elements) * sizeof(Vector)),
        normed_layout_(sizes_.layer_norms ? kernels::NormedColumns::of(sizes_)
                                          : kernels::NormedColumns{}),
        normed_columns_(static_cast<std::size_t>(normed_layout_.count) * sizeof(float4)),
        exchange_(std::int64_t{most_tokens_} * exchange(kernels::kMaxSplits).words, stream) {
    check(binding);
    require_success(
        cudaMemcpyAsync(places_on_device_.as<void>(), places_.data(),
                        places_.size() * sizeof(std::int64_t), cudaMemcpyHostToDevice, stream),
        "copying where weights lie");
    // Chunks are filled up with zeros.
    require_success(
        cudaMemsetAsync(stream_.as<void>(), 0,
                        static_cast<std::size_t>(places_.back()) * Kernel::kPlaceBytes, stream),
        "clearing the weights");
    for (int layer = 0; layer < sizes_.layers; ++layer) {
      const auto number = static_cast<std::size_t>(layer);
      pack(nodes.layers[number], layer, stream);
      args_.pools[2 * number] = reinterpret_cast<Cache*>(binding.pools[2 * number]);
      args_.pools[2 * number + 1] = reinterpret_cast<Cache*>(binding.pools[2 * number + 1]);
      args_.scales[number] = nodes.layers[number].attention.scale;
    }
    pack(kernels::DecoderProduct::head, sizes_.layers, nodes.head, stream);
    const Layer& first = nodes.layers.front();
    Kernel::set_weights(nodes, sizes_, stream_.as<void>(), args_);
    if constexpr (Kernel::Nodes::kLayerNorms) {
      Kernel::set_normed(normed_layout_, normed_columns_.as<float4>(), args_);
    }
    args_.sizes = sizes_;
    args_.embedding_scale = nodes.tokens.scale;
    args_.stream_at = places_on_device_.as<std::int64_t>();
    args_.vector_layout = vector_layout_;
    args_.vectors = vectors_.as<Vector>();
    args_.last_norm = nodes.head.norm.weight;
    args_.epsilon = nodes.head.norm.epsilon;
    args_.query_key_epsilon = first.rules.epsilon;
    args_.activation = first.expansion().activation;
    args_.rotary = first.rules.rotary;
    args_.block_len_shift = block_len_shift(binding);
  }

  cudaError_t step(const StepBinding& inputs, void* logits, kernels::TopLogit* best,
                   const Lane& lane, const PreparedStep& /*prepared*/) override {
    args_.logits = static_cast<Vector*>(logits);
    args_.best = best;
    set_decoder_inputs(inputs, args_.inputs);
    args_.exchange = exchange_.current();
    args_.other_exchange = exchange_.other();
    args_.other_words = last_words_;
    // That for one token sees nothing but the past before it.
    const auto count =
        is_of_one_token(inputs) ? 1U : std::max(2U, static_cast<unsigned>(args_.inputs.count));
    const auto capacity = static_cast<int>(std::bit_ceil(count));
    const std::span tokens(args_.inputs.tokens, static_cast<std::size_t>(args_.inputs.count));
    const int longest = std::ranges::max(tokens, {}, &kernels::FusedToken::past_length).past_length;
    const kernels::DecoderExchange exchange_of_step =
        exchange(kernels::splits_of_past(sizes_, longest, multiprocessors_ / capacity));
    const cudaError_t error =
        Kernel::launch(args_, exchange_of_step, capacity, multiprocessors_, lane.stream);
    if (error == cudaSuccess) {
      exchange_.count_step();
      last_words_ = capacity * exchange_of_step.words;
    }
    return error;
  }

  void check(const StepBinding& binding) const override {
    require_cache(binding);
    require(is_of_one_token(binding) || most_tokens_ > 1,
            "of so many columns or inputs only a step of one token is");
    require(binding.tokens <= most_tokens_ && binding.num_logits <= kernels::kMaxLogitsRows,
            "it has more tokens than the kernel takes");
    require(binding.rows * binding.blocks_per_row <= kernels::kMaxDecoderTable,
            "its block tables are too long for a launch");
  }

  [[nodiscard]] MostTokens most_tokens() const noexcept override {
    return {.one = 1, .few = most_tokens_ > 1 ? most_tokens_ : 0};
  }

 private:
  /// @throws NotFused where a model of these sizes has no kernel
  static typename Kernel::Sizes checked_sizes(const typename Kernel::Sizes& sizes,
                                              int multiprocessors) {
    if (const char* why_not = Kernel::why_not(sizes, multiprocessors)) {
      throw NotFused(why_not);
    }
    return sizes;
  }

  /// The second order of the weights must leave room for sequences.
  /// @throws NotFused where it takes more than half of the memory that is free
  static std::size_t checked_bytes(std::size_t bytes) {
    std::size_t free = 0;
    std::size_t total = 0;
    require_success(cudaMemGetInfo(&free, &total), "asking for free memory");
    require(bytes <= free / 2,
            "its weights in a second order would take more than half of the GPU's free memory");
    return bytes;
  }

  static std::vector<std::int64_t> places(const typename Kernel::Sizes& sizes, int blocks) {
    std::vector<std::int64_t> places(static_cast<std::size_t>(blocks) * kernels::kDecoderWarps + 1);
    Kernel::places(sizes, blocks, places.data());
    return places;
  }

  [[nodiscard]] kernels::DecoderVectors vectors_of(const Nodes& nodes) const {
    const Layer& first = nodes.layers.front();
    bool biases[kernels::kLayerProducts];
    for (int product = 0; product < kernels::kLayerProducts; ++product) {
      // Those of columns behind a LayerNorm are in normed_columns_.
      const bool is_apart =
          sizes_.layer_norms && sizes_.normed(static_cast<kernels::DecoderProduct>(product));
      biases[product] = first.products[product].bias != nullptr && !is_apart;
    }
    return kernels::DecoderVectors::of(sizes_, first.rules.query_weight != nullptr, biases);
  }

  [[nodiscard]] kernels::DecoderExchange exchange(int splits) const {
    return kernels::DecoderExchange::of(sizes_, splits, multiprocessors_, Kernel::kElements);
  }

  void pack(kernels::DecoderProduct product, int layer, const Matrix& matrix,
            cudaStream_t stream) const {
    require_success(
        Kernel::pack(sizes_, layer, product, matrix.weight, places_on_device_.as<std::int64_t>(),
                     multiprocessors_, stream_.as<void>(), stream),
        "packing weights");
    if constexpr (Kernel::Nodes::kLayerNorms) {
      if (sizes_.layer_norms && sizes_.normed(product)) {
        float4* const to = normed_columns_.as<float4>() + normed_layout_.begin(layer, product);
        require_success(Kernel::pack_normed(sizes_, product, matrix, to, stream),
                        "summing weights up");
      }
    }
  }

  void pack(const Layer& layer, int number, cudaStream_t stream) const {
    Vector* const vectors = vectors_.as<Vector>() + std::int64_t{number} * vector_layout_.elements;
    // Every `apart`-th element of `to`.
    const auto copy = [&](Vector* to, const Vector* from, std::int64_t count,
                          std::size_t apart = 1) {
      require_success(
          cudaMemcpy2DAsync(to, apart * sizeof(Vector), from, sizeof(Vector), sizeof(Vector),
                            static_cast<std::size_t>(count), cudaMemcpyDeviceToDevice, stream),
          "copying norms and biases");
    };
    copy(vectors + vector_layout_.norms[0], layer.product(kernels::DecoderProduct::qkv).norm.weight,
         sizes_.hidden);
    copy(vectors + vector_layout_.norms[1], layer.expansion().norm.weight, sizes_.hidden);
    if (vector_layout_.query_norm >= 0) {
      copy(vectors + vector_layout_.query_norm, layer.rules.query_weight, sizes_.head_dim);
      copy(vectors + vector_layout_.key_norm, layer.rules.key_weight, sizes_.head_dim);
    }
    for (int product = 0; product < kernels::kLayerProducts; ++product) {
      const Matrix& matrix = layer.products[product];
      pack(static_cast<kernels::DecoderProduct>(product), number, matrix, stream);
      if (vector_layout_.biases[product] >= 0) {
        Vector* const to = vectors + vector_layout_.biases[product];
        copy(to, matrix.bias, matrix.outputs, matrix.gated ? 2 : 1);
        if (matrix.gated) {
          copy(to + 1, matrix.bias + matrix.outputs, matrix.outputs, 2);
        }
      }
    }
  }

  int multiprocessors_;
  typename Kernel::Sizes sizes_;
  int most_tokens_;                   // of a step
  std::vector<std::int64_t> places_;  // of the warps' streams
  DeviceMemory places_on_device_;
  DeviceMemory stream_;
  kernels::DecoderVectors vector_layout_;
  DeviceMemory vectors_;
  kernels::NormedColumns normed_layout_;
  DeviceMemory normed_columns_;
  ExchangeSets exchange_;
  int last_words_ = 0;  // that the step before used of its set
  typename Kernel::Args args_;
};

}  // namespace kvcache::plan
