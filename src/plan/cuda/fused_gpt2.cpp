#include "plan/cuda/fused_gpt2.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/cuda/fused_step.hpp"
#include "plan/cuda/device_memory.hpp"
#include "plan/cuda/exchange_sets.hpp"
#include "plan/cuda/fused_conditions.hpp"
#include "plan/cuda/fused_decoder_model.hpp"
#include "plan/cuda/fused_inputs.hpp"
#include "plan/cuda/fused_rows_model.hpp"
#include "plan/cuda/gpt2_nodes.hpp"

namespace kvcache::plan {
namespace {

/// From how many tokens on the kernel for many rows is faster than a captured graph on an H200
/// (docs/CUDA.md). With a value, which makes the graph longer, it was so from 192 on; but searches
/// make several runs at a time, and of these only the kernel's are computed side by side.
int fewest_of_rows(int hidden, bool has_value) {
  if (hidden <= 128) {
    return 2;
  }
  return hidden > 256 ? 1024 : has_value ? 96 : 513;
}

/// The kernels that a model of these sizes has on the current device. That for the logits takes
/// hidden sizes up to 1,024.
/// @throws NotFused where it has none
FusedModel::MostTokens kernels_of(const kernels::FusedSizes& sizes, int multiprocessors,
                                  bool has_value) {
  FusedModel::MostTokens most;
  most.rows = kernels::most_rows_tiles(rows_sizes(sizes)) > 0 ? kMostFusedTokens : 0;
  most.fewest_of_rows = fewest_of_rows(sizes.hidden, has_value);
  if (has_value) {
    require(most.rows > 0, "it has a value beside the logits, which no other kernel computes");
    return most;
  }
  const char* none = kernels::why_not_fused(sizes, multiprocessors);
  most.one = none == nullptr ? 1 : 0;
  most.few = none == nullptr ? kernels::most_fused_tokens(sizes, multiprocessors) : 0;
  require(most.one > 0 || most.rows > 0, none);
  return most;
}

/// Which of a model's kernels is for a run.
enum class StepKernel { one, few, rows };

/// @throws NotFused where none is
StepKernel kernel_of(const StepBinding& binding, const FusedModel::MostTokens& most) {
  require_cache(binding);
  const std::int64_t blocks = binding.rows * binding.blocks_per_row;
  if (most.one > 0 && is_of_one_token(binding) && blocks <= kernels::kMaxTableBlocks) {
    return StepKernel::one;
  }
  if (binding.tokens <= most.few && binding.num_logits <= kernels::kMaxLogitsRows &&
      blocks <= kernels::kMaxTablesBlocks) {
    return StepKernel::few;
  }
  require(most.rows > 0 && binding.tokens >= most.fewest_of_rows,
          "of so many tokens a captured graph is faster, or its block tables are too long for a "
          "launch");
  return StepKernel::rows;
}

/// Of a model whose kernel for a few tokens does not fit into shared memory: that for models of any
/// sizes, or null where there is none, or no room for it.
template <typename T>
std::shared_ptr<FusedModel> few_of_any_size(const Plan& plan, const CudaWeights& weights,
                                            const FusedModel::MostTokens& most,
                                            const StepBinding& binding, int multiprocessors,
                                            cudaStream_t stream) {
  static_assert(kernels::kMaxTablesBlocks <= kernels::kMaxDecoderTable);
  if (most.one == 0 || most.few > 0) {
    return nullptr;
  }
  try {
    return fuse_decoder<T>(plan, weights, binding, multiprocessors, stream);
  } catch (const NotFused&) {
    return nullptr;
  }
}

/// Of the kernels for several tokens, the most tokens that each has.
constexpr int kCapacities[] = {2, 4, 8};

template <typename T>
class FusedGpt2 : public FusedModel {
 public:
  /// @throws NotFused
  FusedGpt2(const Plan& plan, const CudaWeights& weights, const StepNodes<T>& nodes,
            const StepBinding& binding, int multiprocessors, cudaStream_t stream)
      : multiprocessors_(multiprocessors),
        sizes_(nodes.sizes()),
        most_(kernels_of(sizes_, multiprocessors, nodes.value.has_value())),
        weights_(has_strips() ? elements(sizes_.layer_elements()) * sizeof(T) : 0),
        vectors_(elements(vectors().elements()) * sizeof(T)),
        few_(few_of_any_size<T>(plan, weights, most_, binding, multiprocessors, stream)) {
    for (const int capacity : kCapacities) {
      if (capacity <= most_.few) {
        add_exchange(capacity, kernels::exchange_words(sizes_, multiprocessors_, capacity), stream);
      }
    }
    most_.few = few_ != nullptr ? few_->most_tokens().few : most_.few;
    check(binding);
    for (std::size_t layer = 0; layer < nodes.layers.size(); ++layer) {
      pack(nodes.layers[layer], static_cast<std::int64_t>(layer), stream);
      args_.pools[2 * layer] = reinterpret_cast<T*>(binding.pools[2 * layer]);
      args_.pools[2 * layer + 1] = reinterpret_cast<T*>(binding.pools[2 * layer + 1]);
      args_.scales[layer] = nodes.layers[layer].attention.scale;
    }
    if (most_.one > 0) {
      add_exchange(1, kernels::exchange_words(sizes_, multiprocessors_, 1), stream);
    }
    args_.sizes = sizes_;
    args_.token_weight = nodes.embedding.token_weight;
    args_.position_weight = nodes.embedding.position_weight;
    args_.head_weight = nodes.head.weight;
    args_.weights = weights_.as<T>();
    args_.vectors = vectors_.as<T>();
    args_.last_norm = nodes.head.norm;
    args_.block_len_shift = block_len_shift(binding);
    if (most_.rows > 0) {
      rows_.emplace(nodes, binding, vectors_.as<T>(), multiprocessors_, stream);
    }
  }

  [[nodiscard]] bool prepare(const StepBinding& inputs, PreparedStep& prepared) const override {
    return kernel_of(inputs, most_) != StepKernel::rows || rows_->prepare(inputs, prepared);
  }

  cudaError_t step(const StepBinding& inputs, void* logits, kernels::TopLogit* best,
                   const Lane& lane, const PreparedStep& prepared) override {
    args_.logits = static_cast<T*>(logits);
    args_.best = best;
    switch (kernel_of(inputs, most_)) {
      case StepKernel::one:
        args_.inputs = step_inputs(inputs);
        return with_exchange(
            1, [&] { return kernels::fused_step(args_, multiprocessors_, lane.stream); });
      case StepKernel::few: {
        if (few_ != nullptr) {
          return few_->step(inputs, logits, best, lane, prepared);
        }
        const kernels::FusedTokensInputs tokens = tokens_inputs(inputs);
        const int capacity =
            *std::ranges::find_if(kCapacities, [&](int most) { return tokens.count <= most; });
        return with_exchange(capacity, [&] {
          return kernels::fused_tokens(args_, tokens, capacity, multiprocessors_, lane.stream);
        });
      }
      case StepKernel::rows:
        break;
    }
    return rows_->step(inputs, logits, best, lane, prepared);
  }

  void check(const StepBinding& binding) const override {
    if (kernel_of(binding, most_) == StepKernel::rows) {
      require(rows_may_take(binding, rows_sizes(sizes_)),
              "it has too many tokens, or a row of it has more than a block of the GPU takes");
    }
  }

  [[nodiscard]] bool is_independent(const StepBinding& binding) const override {
    return kernel_of(binding, most_) == StepKernel::rows;
  }

  [[nodiscard]] MostTokens most_tokens() const noexcept override { return most_; }

 private:
  [[nodiscard]] std::size_t elements(std::int64_t of_layer) const {
    return static_cast<std::size_t>(sizes_.layers * of_layer);
  }
  [[nodiscard]] kernels::LayerVectors vectors() const { return {sizes_.hidden, sizes_.inner}; }

  /// Whether there is a kernel that takes the weights in strips.
  [[nodiscard]] bool has_strips() const { return most_.one > 0; }

  void add_exchange(int tokens, std::int64_t words, cudaStream_t stream) {
    exchanges_.try_emplace(tokens, words, stream);
  }

  /// Launches a step of the kernel for so many tokens with the sets that are its.
  template <typename Launch>
  cudaError_t with_exchange(int tokens, const Launch& launch) {
    ExchangeSets& exchange = exchanges_.at(tokens);
    args_.exchange = exchange.current();
    args_.other_exchange = exchange.other();
    const cudaError_t error = launch();
    if (error == cudaSuccess) {
      exchange.count_step();
    }
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
      if (!has_strips()) {
        continue;
      }
      require_success(
          kernels::pack_strips(product.weight, sizes_.inputs(weight), sizes_.outputs(weight),
                               weights + sizes_.weight_at(weight), stream),
          "packing weights");
    }
  }

  int multiprocessors_;
  kernels::FusedSizes sizes_;
  MostTokens most_;
  DeviceMemory weights_;
  DeviceMemory vectors_;
  std::shared_ptr<FusedModel> few_;        // in place of the kernel for a few tokens
  std::map<int, ExchangeSets> exchanges_;  // by the most tokens that a kernel has
  std::optional<FusedRowsModel<T>> rows_;
  kernels::FusedStepArgs<T> args_;
};

}  // namespace

template <typename T>
bool has_gpt2_kernel(const Plan& plan, const CudaWeights& weights, int multiprocessors) {
  try {
    const StepNodes<T> nodes(plan, weights);
    (void)kernels_of(nodes.sizes(), multiprocessors, nodes.value.has_value());
    return true;
  } catch (const NotFused&) {
    return false;
  }
}

template <typename T>
std::shared_ptr<FusedModel> fuse_gpt2(const Plan& plan, const CudaWeights& weights,
                                      const StepBinding& binding, int multiprocessors,
                                      cudaStream_t stream) {
  const StepNodes<T> nodes(plan, weights);
  return std::make_shared<FusedGpt2<T>>(plan, weights, nodes, binding, multiprocessors, stream);
}

template bool has_gpt2_kernel<__half>(const Plan&, const CudaWeights&, int);
template bool has_gpt2_kernel<__nv_bfloat16>(const Plan&, const CudaWeights&, int);
template std::shared_ptr<FusedModel> fuse_gpt2<__half>(const Plan&, const CudaWeights&,
                                                       const StepBinding&, int, cudaStream_t);
template std::shared_ptr<FusedModel> fuse_gpt2<__nv_bfloat16>(const Plan&, const CudaWeights&,
                                                              const StepBinding&, int,
                                                              cudaStream_t);

}  // namespace kvcache::plan
