#include "plan/cuda/fused_model.hpp"

#include <bit>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/device_memory_fault.hpp"

namespace kvcache::plan {
namespace {

/// Why a run is no fused step, for the log.
class NotFused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void require(bool holds, const char* otherwise) {
  if (!holds) {
    throw NotFused(otherwise);
  }
}

void require_success(cudaError_t error, const char* doing) {
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw NotFused("the GPU has no memory for the layers' weights in a second order");
  }
  if (error != cudaSuccess) {
    throw NotFused(std::string(doing) + ": " + cudaGetErrorString(error));
  }
}

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

  /// @throws NotFused
  StepNodes(const Plan& plan, const CudaWeights& weights) : weights_(weights) {
    for (const Operation& operation : plan.operations) {
      require(!std::holds_alternative<Activate>(operation.what),
              "its activation function is not the tanh approximation of gelu");
      require(!std::holds_alternative<Normalize>(operation.what) &&
                  !std::holds_alternative<Value>(operation.what) &&
                  !std::holds_alternative<Compute>(operation.what),
              "it has outputs beside the logits");
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
    const auto found = weights_.nodes.find(node);
    const auto* args = found == weights_.nodes.end() ? nullptr : std::get_if<Args>(&found->second);
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

/// Whether the kernel takes a run over it.
/// @throws NotFused
void check(const StepBinding& binding) {
  require(binding.tokens == 1 && binding.rows == 1 && binding.num_logits == 1 &&
              binding.block_table != nullptr,
          "it has more than one token, or no cache");
  require(binding.tree_parents == nullptr && binding.append_positions == nullptr &&
              binding.row_offsets == nullptr,
          "it is one of trees or of ragged rows");
  const auto block_len = static_cast<std::uint64_t>(binding.block_len);
  require(std::has_single_bit(block_len) && block_len >= 8,
          "block_len is no power of two, or under 8");
  require(binding.blocks_per_row <= kernels::kMaxTableBlocks,
          "its block table is too long for a launch");
}

/// Memory of the device.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes) {
    require_success(
        device_memory_is_refused() ? cudaErrorMemoryAllocation : cudaMalloc(&data_, bytes),
        "taking memory");
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { cudaFree(data_); }

  template <typename T>
  [[nodiscard]] T* as() const noexcept {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

template <typename T>
class FusedModelOf : public FusedModel {
 public:
  /// @throws NotFused
  FusedModelOf(const StepNodes<T>& nodes, const StepBinding& binding, int multiprocessors,
               cudaStream_t stream)
      : multiprocessors_(multiprocessors),
        sizes_(checked(nodes.sizes(), multiprocessors)),
        exchange_words_(kernels::exchange_words(sizes_, multiprocessors)),
        weights_(elements(sizes_.layer_elements()) * sizeof(T)),
        vectors_(elements(vectors().elements()) * sizeof(T)),
        exchanges_(2 * static_cast<std::size_t>(exchange_words_) * sizeof(unsigned)) {
    for (std::size_t layer = 0; layer < nodes.layers.size(); ++layer) {
      pack(nodes.layers[layer], static_cast<std::int64_t>(layer), stream);
      args_.pools[2 * layer] = reinterpret_cast<T*>(binding.pools[2 * layer]);
      args_.pools[2 * layer + 1] = reinterpret_cast<T*>(binding.pools[2 * layer + 1]);
      args_.scales[layer] = nodes.layers[layer].attention.scale;
    }
    // Every word: not there yet.
    require_success(
        cudaMemsetAsync(exchanges_.as<void>(), 0xFF,
                        2 * static_cast<std::size_t>(exchange_words_) * sizeof(unsigned), stream),
        "clearing the exchange");
    args_.sizes = sizes_;
    args_.token_weight = nodes.embedding.token_weight;
    args_.position_weight = nodes.embedding.position_weight;
    args_.head_weight = nodes.head.weight;
    args_.weights = weights_.as<T>();
    args_.vectors = vectors_.as<T>();
    args_.last_norm = nodes.head.norm;
    args_.block_len_shift = std::countr_zero(static_cast<std::uint64_t>(binding.block_len));
  }

  cudaError_t step(const kernels::FusedStepInputs& inputs, void* logits, kernels::TopLogit* best,
                   cudaStream_t stream) override {
    args_.exchange = exchanges_.as<unsigned>() + (steps_ % 2) * exchange_words_;
    args_.other_exchange = exchanges_.as<unsigned>() + (1 - steps_ % 2) * exchange_words_;
    args_.logits = static_cast<T*>(logits);
    args_.best = best;
    args_.inputs = inputs;
    const cudaError_t error = kernels::fused_step(args_, multiprocessors_, stream);
    steps_ += error == cudaSuccess ? 1 : 0;
    return error;
  }

 private:
  static kernels::FusedSizes checked(const kernels::FusedSizes& sizes, int multiprocessors) {
    const char* why_not = why_not_fused(sizes, multiprocessors);
    require(why_not == nullptr, why_not);
    return sizes;
  }
  [[nodiscard]] std::size_t elements(std::int64_t of_layer) const {
    return static_cast<std::size_t>(sizes_.layers * of_layer);
  }
  [[nodiscard]] kernels::LayerVectors vectors() const { return {sizes_.hidden, sizes_.inner}; }

  void pack(const LayerNodes<T>& layer, std::int64_t number, cudaStream_t stream) {
    T* const weights = weights_.as<T>() + number * sizes_.layer_elements();
    T* const vectors_of_layer = vectors_.as<T>() + number * vectors().elements();
    const auto copy = [&](int to, const T* from, std::int64_t count) {
      require_success(
          cudaMemcpyAsync(vectors_of_layer + to, from, static_cast<std::size_t>(count) * sizeof(T),
                          cudaMemcpyDeviceToDevice, stream),
          "copying norms and biases");
    };
    const kernels::NormArgs<T> norms[2]{layer.qkv.norm, layer.expansion.norm};
    for (int norm = 0; norm < 2; ++norm) {
      copy(vectors().norm_weight(norm), norms[norm].weight, sizes_.hidden);
      copy(vectors().norm_bias(norm), norms[norm].bias, sizes_.hidden);
    }
    for (int w = 0; w < kernels::kLayerWeights; ++w) {
      const auto weight = static_cast<kernels::LayerWeight>(w);
      const kernels::LinearCudaArgs<T>& product = layer.product(weight);
      require(product.inputs == sizes_.inputs(weight) && product.outputs == sizes_.outputs(weight),
              "its layers differ in size");
      copy(vectors().bias(weight), product.bias, product.outputs);
      require_success(
          kernels::pack_strips(product.weight, sizes_.inputs(weight), sizes_.outputs(weight),
                               weights + sizes_.weight_at(weight), stream),
          "packing weights");
    }
  }

  int multiprocessors_;
  kernels::FusedSizes sizes_;
  std::int64_t exchange_words_;  // of one set
  DeviceMemory weights_;
  DeviceMemory vectors_;
  DeviceMemory exchanges_;
  kernels::FusedStepArgs<T> args_;
  std::int64_t steps_ = 0;
};

}  // namespace

std::shared_ptr<FusedModel> fuse(const Plan& plan, const CudaWeights& weights,
                                 const StepBinding& binding, int multiprocessors,
                                 std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                 std::string& why_not) {
  try {
    check(binding);
    if (model != nullptr) {
      return model;
    }
    const auto first = weights.nodes.find(kEmbeddingNode);
    require(first != weights.nodes.end(), "the model is not of a 16-bit type");
    const auto make = [&]<typename T>(T /*element*/) -> std::shared_ptr<FusedModel> {
      return std::make_shared<FusedModelOf<T>>(StepNodes<T>(plan, weights), binding,
                                               multiprocessors, stream);
    };
    return std::holds_alternative<kernels::EmbeddingCudaArgs<__half>>(first->second)
               ? make(__half{})
               : make(__nv_bfloat16{});
  } catch (const NotFused& reason) {
    why_not = reason.what();
    return nullptr;
  }
}

}  // namespace kvcache::plan
