#include "plan/cuda/fused_rows_model.hpp"

#include "plan/cuda/fused_model.hpp"

namespace kvcache::plan {
namespace {

constexpr std::int64_t kMostLogits = 2 * kMostFusedTokens;

std::size_t weight_bytes(const kernels::RowsSizes& sizes) {
  return static_cast<std::size_t>(kernels::RowsStream{sizes}.steps()) * kernels::kStepVectors * 16;
}

}  // namespace

bool rows_may_take(const StepBinding& binding, const kernels::RowsSizes& sizes) {
  const std::int64_t of_row = binding.row_offsets == nullptr ? binding.tokens / binding.rows : 1;
  return binding.tokens <= kMostFusedTokens && binding.num_logits <= kMostLogits &&
         of_row <= kernels::most_rows_tiles(sizes) * kernels::kRowsTileTokens;
}

template <typename T>
FusedRowsModel<T>::FusedRowsModel(const StepNodes<T>& nodes, const StepBinding& binding,
                                  const T* vectors, int multiprocessors, cudaStream_t stream)
    : units_at_once_(multiprocessors / kernels::kRowsBlocks),
      most_tiles_(kernels::most_rows_tiles(rows_sizes(nodes.sizes()))),
      weights_(weight_bytes(rows_sizes(nodes.sizes()))) {
  args_.sizes = rows_sizes(nodes.sizes());
  const auto pack = [&](const T* weight, int layer, kernels::RowsWeight which) {
    require_success(
        kernels::pack_rows(args_.sizes, weight, layer, which, weights_.as<uint4>(), stream),
        "packing weights");
  };
  require_success(cudaMemsetAsync(weights_.as<void>(), 0, weight_bytes(args_.sizes), stream),
                  "clearing memory");  // the end is read, and not used
  for (int layer = 0; layer < args_.sizes.layers; ++layer) {
    const LayerNodes<T>& of = nodes.layers[static_cast<std::size_t>(layer)];
    for (int w = 0; w < kernels::kRowsOfLayer; ++w) {
      pack(of.product(static_cast<kernels::LayerWeight>(w)).weight, layer,
           static_cast<kernels::RowsWeight>(w));
    }
    args_.pools[2 * layer] =
        reinterpret_cast<T*>(binding.pools[2 * static_cast<std::size_t>(layer)]);
    args_.pools[2 * layer + 1] =
        reinterpret_cast<T*>(binding.pools[2 * static_cast<std::size_t>(layer) + 1]);
    args_.scales[layer] = of.attention.scale;
  }
  pack(nodes.head.weight, args_.sizes.layers, kernels::RowsWeight::head);
  args_.token_weight = nodes.embedding.token_weight;
  args_.position_weight = nodes.embedding.position_weight;
  args_.weights = weights_.as<uint4>();
  args_.vectors = vectors;
  args_.last_norm = nodes.head.norm;
  args_.block_len_shift = block_len_shift(binding);
  if (nodes.value) {
    value_ = nodes.value;
    value_->positions = nullptr;
    value_output_ = nodes.value_output;
  }
  for (int lane = 0; value_ && lane < kLanes; ++lane) {
    last_.emplace_back(static_cast<std::size_t>(kMostLogits * args_.sizes.hidden) * sizeof(T));
  }
}

template <typename T>
bool FusedRowsModel<T>::prepare(const StepBinding& inputs, PreparedStep& prepared) const {
  auto& [lists, memory] = prepared;
  if (!lists.make(inputs, most_tiles_, units_at_once_) || !memory.resize(lists.bytes())) {
    return false;
  }
  lists.copy_to(memory.data());
  return true;
}

template <typename T>
cudaError_t FusedRowsModel<T>::step(const StepBinding& inputs, void* logits,
                                    kernels::TopLogit* best, const Lane& lane,
                                    const PreparedStep& prepared) {
  args_.logits = static_cast<T*>(logits);
  args_.host_logits = reinterpret_cast<T*>(inputs.host_logits);
  args_.best = best;
  args_.last = value_ ? last_[static_cast<std::size_t>(lane.number)].template as<T>() : nullptr;
  // The device reads the lists where they are: a copy of them would take longer.
  const auto& [lists, memory] = prepared;
  cudaError_t error =
      kernels::fused_rows(args_, lists.at(memory.data()), lists.tiles(), lane.stream);
  if (error == cudaSuccess && value_) {
    value_->x = args_.last;
    value_->tokens = inputs.num_logits;
    value_->out = reinterpret_cast<T*>(inputs.outputs[value_output_]);
    value_->host_out = inputs.host_logits == nullptr
                           ? nullptr
                           : reinterpret_cast<T*>(inputs.host_outputs[value_output_]);
    error = kernels::value_head_cuda(*value_, lane.stream);
  }
  return error;
}

template class FusedRowsModel<__half>;
template class FusedRowsModel<__nv_bfloat16>;

}  // namespace kvcache::plan
