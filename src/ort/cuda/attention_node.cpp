#include "ort/cuda/attention_node.hpp"

#include <cstddef>
#include <limits>
#include <type_traits>

#include "base/rounding.hpp"
#include "kernels/cuda/cached_attention_cuda.hpp"
#include "kernels/cuda/growing_tables.hpp"
#include "kernels/cuda/norm_and_turn_cuda.hpp"

namespace kvcache::ort {

template <typename T, typename Cache>
CachedAttentionNode<T, Cache>::CachedAttentionNode(const OrtKernelInfo* info,
                                                   const CudaNodeResources& resources)
    : ToldNode(kName, info, resources),
      settings_(attention_sizes(info, name_, resources.groups, resources.facts)),
      resources_(resources) {}

template <typename T, typename Cache>
OrtStatusPtr CachedAttentionNode<T, Cache>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    if (optional_data<std::int32_t>(context.GetInput(kBlockTable)) != nullptr) {
      compute_in_place(context);
    } else {
      compute_growing(context);
    }
  });
}

template <typename T, typename Cache>
std::size_t CachedAttentionNode<T, Cache>::prepared_bytes(const AttentionSizes& sizes) const {
  if (settings_.norm_size == 0 && settings_.rules.rotary.dims == 0) {
    return 0;
  }
  const std::int64_t vectors = settings_.num_heads + 2 * settings_.num_kv_heads;
  return static_cast<std::size_t>(sizes.batch * sizes.seq_len * vectors * sizes.head_dim) *
         sizeof(T);
}

template <typename T, typename Cache>
kernels::AttentionRulesCuda<T> CachedAttentionNode<T, Cache>::rules(
    const Ort::KernelContext& context, std::int64_t head_dim) const {
  kernels::AttentionRulesCuda<T> rules{.epsilon = settings_.rules.norm.epsilon,
                                       .rotary = settings_.rules.rotary,
                                       .window = settings_.rules.window,
                                       .soft_cap = settings_.rules.soft_cap};
  if (settings_.norm_size > 0) {
    check(settings_.norm_size == head_dim, name_,
          "q_norm_weight and k_norm_weight must be [head_dim]");
    rules.query_weight = raw_data<T>(context.GetInput(kQueryNormWeight));
    rules.key_weight = raw_data<T>(context.GetInput(kKeyNormWeight));
  }
  if (rules.rotary.dims > 0) {
    check(rules.rotary.dims <= head_dim, name_, "cos and sin are longer than head_dim");
    rules.rotary.cos = raw_data<float>(context.GetInput(kCos));
    rules.rotary.sin = raw_data<float>(context.GetInput(kSin));
  }
  return rules;
}

template <typename T, typename Cache>
void CachedAttentionNode<T, Cache>::prepare(const Ort::KernelContext& context, std::int64_t tokens,
                                            T* prepared,
                                            kernels::CachedAttentionArgs<T, Cache>& args,
                                            kernels::LaunchOrder order) const {
  kernels::NormAndTurnArgs<T> turn{.qkv = args.qkv,
                                   .out = prepared,
                                   .rules = rules(context, args.head_dim),
                                   .tokens = tokens,
                                   .num_heads = args.num_heads,
                                   .num_kv_heads = args.num_kv_heads,
                                   .head_dim = args.head_dim};
  if (turn.rules.rotary.dims > 0) {
    const auto position_ids = context.GetInput(kAttentionPositionIds);
    check(position_ids.GetTensorTypeAndShapeInfo().GetElementCount() ==
              static_cast<std::size_t>(tokens),
          name_, "position_ids must be [batch, seq_len]");
    turn.position_ids = raw_data<std::int64_t>(position_ids);
  }
  check_launch(kernels::norm_and_turn_cuda(turn, order), name_);
  args.qkv = prepared;
}

template <typename T, typename Cache>
void CachedAttentionNode<T, Cache>::attend(const kernels::CachedAttentionArgs<T, Cache>& args,
                                           std::int64_t tokens, kernels::LaunchOrder order) const {
  check(args.head_dim <= 256, name_, "head_dim is at most 256 on CUDA");
  if constexpr (std::is_same_v<T, Cache>) {
    // From where on a row's tokens are worth a tile, on an H200: a few that share their past.
    constexpr std::int64_t kTokens = 6;
    constexpr std::int64_t kTokensOfRow = 2;
    if (tokens >= kTokens && tokens >= kTokensOfRow * args.rows &&
        kernels::attention_tiles_fit(args, tokens)) {
      check_launch(kernels::cached_attention_by_tile(args, tokens,
                                                     resources_.room->multiprocessors(), order),
                   name_);
      return;
    }
  }
  const auto splits =
      kernels::attention_splits(tokens, args.num_heads, resources_.room->multiprocessors());
  check_launch(kernels::cached_attention_by_token(args, tokens, splits, order), name_);
}

template <typename T, typename Cache>
void CachedAttentionNode<T, Cache>::compute_in_place(Ort::KernelContext& context) {
  InPlaceRun<T, Cache> run =
      in_place_run<T, Cache>(context, name_, heads(), settings_.scale, settings_.group);
  bind_in_place(context, name_, run);
  run.args.rules.window = settings_.rules.window;
  run.args.rules.soft_cap = settings_.rules.soft_cap;
  tell(rules(context, run.args.head_dim));
  const kernels::LaunchOrder order = stream_of(context);
  if (const std::size_t bytes = prepared_bytes(run.sizes); bytes > 0) {
    prepare(context, run.tokens, static_cast<T*>(resources_.room->scratch(bytes)), run.args, order);
  }
  attend(run.args, run.tokens, order);
  resources_.counters.in_place_runs.fetch_add(1, std::memory_order_relaxed);
}

template <typename T, typename Cache>
void CachedAttentionNode<T, Cache>::compute_growing(Ort::KernelContext& context) {
  const auto past_key = context.GetInput(kPastKey);
  const auto past_value = context.GetInput(kPastValue);
  const Shape past_shape = shape_of(past_key);
  const AttentionSizes sizes =
      check_attention_shapes(name_, heads(), shape_of(context.GetInput(kQkv)), past_shape,
                             shape_of(past_value), kernels::kScaleElements<Cache>);
  const std::int64_t past_len = past_shape[2];
  const std::int64_t total_len = past_len + sizes.seq_len;
  check(past_shape[0] == sizes.batch, name_, "past_key and qkv must have the same batch");
  const auto [num_heads, num_kv_heads] = heads();
  check(sizes.batch * num_heads <= std::numeric_limits<std::int32_t>::max(), name_,
        "batch is too large");
  const cudaStream_t stream = stream_of(context);

  const Shape present_shape{sizes.batch, num_kv_heads, total_len, past_shape[3]};
  kernels::CachedAttentionArgs<T, Cache> args;
  args.qkv = raw_data<T>(context.GetInput(kQkv));
  args.key_pool = raw_output<Cache>(context, kPresentKey, present_shape);
  args.value_pool = raw_output<Cache>(context, kPresentValue, present_shape);
  args.attention = raw_output<T>(context, kAttention,
                                 Shape{sizes.batch, sizes.seq_len, num_heads * sizes.head_dim});
  const auto rows = static_cast<std::size_t>(sizes.batch * num_kv_heads);
  const std::size_t vector_bytes = static_cast<std::size_t>(past_shape[3]) * sizeof(Cache);
  const std::size_t past_bytes = static_cast<std::size_t>(past_len) * vector_bytes;
  const std::size_t total_bytes = static_cast<std::size_t>(total_len) * vector_bytes;
  if (past_bytes * rows > 0) {
    const auto copy = [&](Cache* to, const Ort::ConstValue& from) {
      check_launch(cudaMemcpy2DAsync(to, total_bytes, raw_data<Cache>(from), past_bytes, past_bytes,
                                     rows, cudaMemcpyDeviceToDevice, stream),
                   name_);
    };
    copy(args.key_pool, past_key);
    copy(args.value_pool, past_value);
  }
  resources_.counters.growing_runs.fetch_add(1, std::memory_order_relaxed);
  resources_.counters.past_bytes_copied.fetch_add(2 * past_bytes * rows, std::memory_order_relaxed);
  if (sizes.batch * sizes.seq_len == 0) {
    return;
  }

  // A batch entry of present is a pool block that holds the whole row: from here on, in place.
  const auto batch = static_cast<std::size_t>(sizes.batch);
  const std::size_t table_bytes = round_up(2 * batch * sizeof(std::int32_t), 256);  // aligned
  auto* const scratch =
      static_cast<std::byte*>(resources_.room->scratch(table_bytes + prepared_bytes(sizes)));
  auto* const tables = reinterpret_cast<std::int32_t*>(scratch);
  check_launch(kernels::growing_tables(tables, tables + batch, sizes.batch,
                                       static_cast<std::int32_t>(past_len), stream),
               name_);
  args.block_table = tables;
  args.past_lengths = tables + batch;
  args.rows = sizes.batch;
  args.tokens_per_row = sizes.seq_len;
  args.blocks_per_row = 1;
  args.num_heads = num_heads;
  args.num_kv_heads = num_kv_heads;
  args.head_dim = sizes.head_dim;
  args.block_len = total_len;
  args.scale = settings_.scale;
  args.rules.window = settings_.rules.window;
  args.rules.soft_cap = settings_.rules.soft_cap;
  const std::int64_t tokens = sizes.batch * sizes.seq_len;
  const kernels::LaunchOrder order{stream, false};  // not before the copies and tables are there
  if (prepared_bytes(sizes) > 0) {
    prepare(context, tokens, reinterpret_cast<T*>(scratch + table_bytes), args, order);
  }
  attend(args, tokens, order);
}

template class CachedAttentionNode<float>;
template class CachedAttentionNode<float, __half>;
template class CachedAttentionNode<float, __nv_bfloat16>;
template class CachedAttentionNode<float, std::int8_t>;
template class CachedAttentionNode<__half>;
template class CachedAttentionNode<__nv_bfloat16>;

}  // namespace kvcache::ort
