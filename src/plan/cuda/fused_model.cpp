#include "plan/cuda/fused_model.hpp"

#include <algorithm>
#include <bit>
#include <map>
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

/// Whether a run is of the kernel for one token.
bool is_of_one_token(const StepBinding& binding) {
  return binding.tokens == 1 && binding.rows == 1 && binding.num_logits == 1 &&
         binding.tree_parents == nullptr && binding.append_positions == nullptr &&
         binding.row_offsets == nullptr;
}

/// Steps of several tokens that a run is cut into at most: with more of them, a captured graph of
/// all of it is faster.
constexpr int kMostSteps = 2;
static_assert(kMostSteps * kernels::kMaxFusedTokens == kMostTokensOfSteps);
static_assert(kMostTokensOfSteps <= 32);  // a bit each

/// Whether a run is one or two steps of a model that takes at most `most_tokens` in each where it
/// is not the kernel for one token that takes it.
/// @throws NotFused
void check(const StepBinding& binding, int most_tokens) {
  require(binding.block_table != nullptr, "it has no cache");
  if (!is_of_one_token(binding)) {
    require(most_tokens > 0, "the model is too large for steps of several tokens");
    require(
        binding.tokens <= kMostSteps * most_tokens && binding.num_logits <= kernels::kMaxLogitsRows,
        "it has too many tokens, or too many rows of logits");
  }
  const auto block_len = static_cast<std::uint64_t>(binding.block_len);
  require(std::has_single_bit(block_len) && block_len >= 8,
          "block_len is no power of two, or under 8");
  require(binding.rows * binding.blocks_per_row <=
              (is_of_one_token(binding) ? kernels::kMaxTableBlocks : kernels::kMaxTablesBlocks),
          "its block tables are too long for a launch");
}

/// The tokens of a run's rows; those behind them only fill it up.
std::int64_t tokens_of_rows(const StepBinding& binding) {
  return binding.row_offsets != nullptr ? binding.row_offsets[binding.rows] : binding.tokens;
}

/// Token `number` of a run, of row `row` that begins at token `begin`, in a step that begins at
/// token `first`: what it sees of earlier steps is in the cache.
kernels::FusedToken token_of(const StepBinding& binding, std::int64_t row, std::int64_t begin,
                             std::int64_t number, std::int64_t first) {
  const std::int32_t append =
      (binding.append_positions != nullptr ? binding.append_positions : binding.past_lengths)[row];
  kernels::FusedToken token;
  token.id = binding.input_ids[number];
  token.position = binding.position_ids[number];
  token.past_length = binding.past_lengths[row];
  token.append_at = append + static_cast<std::int32_t>(number - begin);
  token.table_at = static_cast<std::int32_t>(row * binding.blocks_per_row);
  token.cached_at = append;
  for (std::int64_t seen = number - begin; seen >= 0;
       seen = binding.tree_parents != nullptr ? binding.tree_parents[begin + seen] : seen - 1) {
    if (begin + seen >= first) {
      token.sees |= 1U << static_cast<unsigned>(begin + seen - first);
    } else {
      token.sees_cached |= 1U << static_cast<unsigned>(seen);
    }
  }
  return token;
}

/// A run's tokens first … end − 1 as the kernel for several takes them.
kernels::FusedTokensInputs tokens_inputs(const StepBinding& binding, std::int64_t first,
                                         std::int64_t end) {
  kernels::FusedTokensInputs inputs;
  inputs.count = static_cast<std::int32_t>(end - first);
  for (std::int64_t row = 0; row < binding.rows; ++row) {
    const std::int64_t per_row = binding.tokens / binding.rows;
    const bool ragged = binding.row_offsets != nullptr;
    const std::int64_t begin = ragged ? binding.row_offsets[row] : row * per_row;
    const std::int64_t row_end = ragged ? binding.row_offsets[row + 1] : begin + per_row;
    for (std::int64_t token = std::max(begin, first); token < std::min(row_end, end); ++token) {
      inputs.tokens[token - first] = token_of(binding, row, begin, token, first);
    }
  }
  for (std::int64_t row = 0; row < binding.num_logits; ++row) {
    const std::int64_t token =
        binding.logits_positions != nullptr ? binding.logits_positions[row] : row;
    if (token >= first && token < end) {
      inputs.tokens[token - first].logits_rows |= 1U << static_cast<unsigned>(row);
    }
  }
  std::copy_n(binding.block_table, binding.rows * binding.blocks_per_row, inputs.block_table);
  return inputs;
}

/// The same of the kernel for one token.
kernels::FusedStepInputs step_inputs(const StepBinding& binding) {
  kernels::FusedStepInputs inputs;
  inputs.input_id = *binding.input_ids;
  inputs.position_id = *binding.position_ids;
  inputs.past_length = *binding.past_lengths;
  std::copy_n(binding.block_table, binding.blocks_per_row, inputs.block_table);
  return inputs;
}

/// Of the kernels for several tokens, the most tokens that each has.
constexpr int kCapacities[] = {2, 4, 8};

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
               int most_tokens, cudaStream_t stream)
      : multiprocessors_(multiprocessors),
        sizes_(nodes.sizes()),
        most_tokens_(most_tokens),
        weights_(elements(sizes_.layer_elements()) * sizeof(T)),
        vectors_(elements(vectors().elements()) * sizeof(T)) {
    for (std::size_t layer = 0; layer < nodes.layers.size(); ++layer) {
      pack(nodes.layers[layer], static_cast<std::int64_t>(layer), stream);
      args_.pools[2 * layer] = reinterpret_cast<T*>(binding.pools[2 * layer]);
      args_.pools[2 * layer + 1] = reinterpret_cast<T*>(binding.pools[2 * layer + 1]);
      args_.scales[layer] = nodes.layers[layer].attention.scale;
    }
    add_exchange(1, stream);
    for (const int capacity : kCapacities) {
      if (capacity <= most_tokens_) {
        add_exchange(capacity, stream);
      }
    }
    args_.sizes = sizes_;
    args_.token_weight = nodes.embedding.token_weight;
    args_.position_weight = nodes.embedding.position_weight;
    args_.head_weight = nodes.head.weight;
    args_.weights = weights_.as<T>();
    args_.vectors = vectors_.as<T>();
    args_.last_norm = nodes.head.norm;
    args_.block_len_shift = std::countr_zero(static_cast<std::uint64_t>(binding.block_len));
  }

  cudaError_t step(const StepBinding& inputs, void* logits, kernels::TopLogit* best,
                   cudaStream_t stream) override {
    args_.logits = static_cast<T*>(logits);
    args_.best = best;
    if (is_of_one_token(inputs)) {
      args_.inputs = step_inputs(inputs);
      return with_exchange(1, [&] { return kernels::fused_step(args_, multiprocessors_, stream); });
    }
    const std::int64_t count = tokens_of_rows(inputs);
    cudaError_t error = cudaSuccess;
    for (std::int64_t first = 0; first < count && error == cudaSuccess; first += most_tokens_) {
      const kernels::FusedTokensInputs tokens =
          tokens_inputs(inputs, first, std::min(first + most_tokens_, count));
      const int capacity =
          *std::ranges::find_if(kCapacities, [&](int most) { return tokens.count <= most; });
      error = with_exchange(capacity, [&] {
        return kernels::fused_tokens(args_, tokens, capacity, multiprocessors_, stream);
      });
    }
    return error;
  }

  [[nodiscard]] int most_tokens() const noexcept override { return most_tokens_; }

 private:
  [[nodiscard]] std::size_t elements(std::int64_t of_layer) const {
    return static_cast<std::size_t>(sizes_.layers * of_layer);
  }
  [[nodiscard]] kernels::LayerVectors vectors() const { return {sizes_.hidden, sizes_.inner}; }

  /// Where the blocks of steps of so many tokens talk: two sets, of which a step uses one and makes
  /// the other ready for the next.
  struct Exchange {
    Exchange(std::int64_t words_of_set, cudaStream_t stream)
        : words(words_of_set), memory(2 * static_cast<std::size_t>(words) * sizeof(unsigned)) {
      // Every word: not there yet.
      require_success(
          cudaMemsetAsync(memory.as<void>(), 0xFF,
                          2 * static_cast<std::size_t>(words) * sizeof(unsigned), stream),
          "clearing the exchange");
    }

    std::int64_t words;  // of a set
    DeviceMemory memory;
    std::int64_t steps = 0;
  };

  void add_exchange(int tokens, cudaStream_t stream) {
    exchanges_.try_emplace(tokens, kernels::exchange_words(sizes_, multiprocessors_, tokens),
                           stream);
  }

  /// Launches a step of the kernel for so many tokens with the sets that are its.
  template <typename Launch>
  cudaError_t with_exchange(int tokens, const Launch& launch) {
    Exchange& exchange = exchanges_.at(tokens);
    auto* const sets = exchange.memory.template as<unsigned>();
    args_.exchange = sets + exchange.steps % 2 * exchange.words;
    args_.other_exchange = sets + (1 - exchange.steps % 2) * exchange.words;
    const cudaError_t error = launch();
    exchange.steps += error == cudaSuccess ? 1 : 0;
    return error;
  }

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
  int most_tokens_;  // of a step, where it has several
  DeviceMemory weights_;
  DeviceMemory vectors_;
  std::map<int, Exchange> exchanges_;  // by the most tokens that a kernel has
  kernels::FusedStepArgs<T> args_;
};

}  // namespace

std::shared_ptr<FusedModel> fuse(const Plan& plan, const CudaWeights& weights,
                                 const StepBinding& binding, int multiprocessors,
                                 std::shared_ptr<FusedModel> model, cudaStream_t stream,
                                 std::string& why_not) {
  try {
    if (model != nullptr) {
      check(binding, model->most_tokens());
      return model;
    }
    const auto first = weights.nodes.find(kEmbeddingNode);
    require(first != weights.nodes.end(), "the model is not of a 16-bit type");
    const auto make = [&]<typename T>(T /*element*/) -> std::shared_ptr<FusedModel> {
      const StepNodes<T> nodes(plan, weights);
      const char* too_large = kernels::why_not_fused(nodes.sizes(), multiprocessors);
      require(too_large == nullptr, too_large);
      const int most_tokens = kernels::most_fused_tokens(nodes.sizes(), multiprocessors);
      check(binding, most_tokens);
      return std::make_shared<FusedModelOf<T>>(nodes, binding, multiprocessors, most_tokens,
                                               stream);
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
