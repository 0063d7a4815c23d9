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
  kernels::CachedAttentionArgs<T> attention;
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

/// A run as the fused step knows it.
template <typename T>
struct StepNodes {
  kernels::EmbeddingCudaArgs<T> embedding;
  std::vector<LayerNodes<T>> layers;
  kernels::HeadCudaArgs<T> head;

  /// @throws NotFused
  explicit StepNodes(const std::vector<RecordedNode>& nodes) : next_(nodes.begin()) {
    constexpr std::size_t kNodesPerLayer = 5;
    require(nodes.size() % kNodesPerLayer == 2, "it has nodes beside those of GPT-2");
    take(embedding);
    layers.resize(nodes.size() / kNodesPerLayer);
    const T* x = embedding.out;
    for (LayerNodes<T>& layer : layers) {
      take(layer.qkv);
      take(layer.attention);
      take(layer.projection);
      take(layer.expansion);
      take(layer.contraction);
      const bool flows =
          layer.qkv.x == x && layer.attention.qkv == layer.qkv.out &&
          layer.projection.x == layer.attention.attention && layer.projection.residual == x &&
          layer.expansion.x == layer.projection.out && layer.contraction.x == layer.expansion.out &&
          layer.contraction.residual == layer.projection.out;
      const bool ends = layer.qkv.norm.weight != nullptr && !layer.qkv.gelu &&
                        layer.projection.norm.weight == nullptr && !layer.projection.gelu &&
                        layer.expansion.norm.weight != nullptr && layer.expansion.gelu &&
                        layer.contraction.norm.weight == nullptr && !layer.contraction.gelu &&
                        layer.qkv.residual == nullptr && layer.expansion.residual == nullptr;
      require(flows && ends, "its nodes are not put together as in GPT-2");
      x = layer.contraction.out;
    }
    take(head);
    require(head.x == x, "its nodes are not put together as in GPT-2");
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

  [[nodiscard]] std::uint64_t block_len() const {
    return static_cast<std::uint64_t>(layers.front().attention.block_len);
  }

 private:
  template <typename Args>
  void take(Args& args) {
    const auto* found = std::get_if<Args>(&*next_++);
    require(found != nullptr, "it has nodes beside those of GPT-2");
    args = *found;
  }

  void check() const {
    require(!layers.empty() && layers.size() <= kernels::kMaxFusedLayers,
            "it has no or too many layers");
    const kernels::CachedAttentionArgs<T>& first = layers.front().attention;
    require(embedding.tokens == 1 && first.rows == 1 && head.tokens == 1,
            "it has more than one token");
    require(first.tree_parents == nullptr && first.append_positions == nullptr &&
                first.row_offsets == nullptr,
            "it is one of trees or of ragged rows");
    require(std::has_single_bit(block_len()) && block_len() >= 8,
            "block_len is no power of two, or under 8");
    require(first.blocks_per_row <= kernels::kMaxTableBlocks,
            "its block table is too long for a launch");
    for (const LayerNodes<T>& layer : layers) {
      require(layer.qkv.norm.epsilon == head.norm.epsilon &&
                  layer.expansion.norm.epsilon == head.norm.epsilon,
              "its norms differ in epsilon");
      require(layer.attention.block_len == first.block_len &&
                  layer.attention.block_table == first.block_table,
              "its layers' caches differ");
    }
  }

  std::vector<RecordedNode>::const_iterator next_;
};

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
  FusedModelOf(const StepNodes<T>& nodes, int multiprocessors, cudaStream_t stream)
      : multiprocessors_(multiprocessors),
        sizes_(checked(nodes.sizes(), multiprocessors)),
        exchange_words_(kernels::exchange_words(sizes_, multiprocessors)),
        weights_(elements(sizes_.layer_elements()) * sizeof(T)),
        vectors_(elements(vectors().elements()) * sizeof(T)),
        exchanges_(2 * static_cast<std::size_t>(exchange_words_) * sizeof(unsigned)) {
    for (std::size_t layer = 0; layer < nodes.layers.size(); ++layer) {
      pack(nodes.layers[layer], static_cast<std::int64_t>(layer), stream);
      const kernels::CachedAttentionArgs<T>& attention = nodes.layers[layer].attention;
      args_.pools[2 * layer] = attention.key_pool;
      args_.pools[2 * layer + 1] = attention.value_pool;
      args_.scales[layer] = attention.scale;
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
    args_.block_len_shift = std::countr_zero(nodes.block_len());
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

template <typename T>
std::shared_ptr<FusedModel> fuse_nodes(const NodeRecording& recording, int multiprocessors,
                                       std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                       FusedStepPlaces& places) {
  const StepNodes<T> nodes(recording.nodes());
  const kernels::CachedAttentionArgs<T>& attention = nodes.layers.front().attention;
  places.input_ids = nodes.embedding.input_ids;
  places.position_ids = nodes.embedding.position_ids;
  places.past_lengths = attention.past_lengths;
  places.block_table = attention.block_table;
  places.blocks_per_row = attention.blocks_per_row;
  return model != nullptr ? model
                          : std::make_shared<FusedModelOf<T>>(nodes, multiprocessors, stream);
}

}  // namespace

std::shared_ptr<FusedModel> fuse(const NodeRecording& recording, int multiprocessors,
                                 std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                 FusedStepPlaces& places, std::string& why_not) {
  try {
    require(!recording.nodes().empty(), "it has no nodes");
    const RecordedNode& first = recording.nodes().front();
    if (std::holds_alternative<kernels::EmbeddingCudaArgs<__half>>(first)) {
      return fuse_nodes<__half>(recording, multiprocessors, std::move(model), stream, places);
    }
    require(std::holds_alternative<kernels::EmbeddingCudaArgs<__nv_bfloat16>>(first),
            "the model is not of a 16-bit type");
    return fuse_nodes<__nv_bfloat16>(recording, multiprocessors, std::move(model), stream, places);
  } catch (const NotFused& reason) {
    why_not = reason.what();
    return nullptr;
  }
}

}  // namespace kvcache::plan
