#include "ort/cuda/attention_node.hpp"

#include <limits>

#include "kernels/cuda/cached_attention_cuda.hpp"
#include "kernels/cuda/growing_tables.hpp"
#include "ort/attention_tensors.hpp"

namespace kvcache::ort {

template <typename T>
CachedAttentionNode<T>::CachedAttentionNode(const OrtKernelInfo* info,
                                            const CudaNodeResources& resources)
    : name_(node_name(kName, info)),
      num_heads_(Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("num_heads")),
      scale_(Ort::ConstKernelInfo(info).GetAttribute<float>("scale")),
      resources_(resources) {
  tell_attention(info, name_, num_heads_, scale_, resources.facts);
}

template <typename T>
OrtStatusPtr CachedAttentionNode<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    if (optional_data<std::int32_t>(context.GetInput(kBlockTable)) != nullptr) {
      compute_in_place(context);
    } else {
      compute_growing(context);
    }
  });
}

template <typename T>
void CachedAttentionNode<T>::attend(const kernels::CachedAttentionArgs<T>& args,
                                    std::int64_t tokens, kernels::LaunchOrder order) {
  check(args.head_dim <= 256, name_, "head_dim is at most 256 on CUDA");
  if constexpr (sizeof(T) == 2) {
    constexpr std::int64_t kWorthATile = 16;  // tokens of a row
    if (tokens >= kWorthATile * args.rows && kernels::attention_tiles_fit(args.head_dim, tokens)) {
      check_launch(kernels::cached_attention_by_tile(args, tokens,
                                                     resources_.room->multiprocessors(), order),
                   name_);
      return;
    }
  }
  const auto splits =
      kernels::AttentionSplits::choose(tokens, args.num_heads, resources_.room->multiprocessors());
  check_launch(kernels::cached_attention_by_token(args, tokens, splits, order), name_);
}

template <typename T>
void CachedAttentionNode<T>::compute_in_place(Ort::KernelContext& context) {
  InPlaceRun<T> run = in_place_run<T>(context, name_, {num_heads_, num_heads_}, scale_);
  bind_in_place(context, name_, run);
  attend(run.args, run.tokens, stream_of(context));
  resources_.counters.in_place_runs.fetch_add(1, std::memory_order_relaxed);
}

template <typename T>
void CachedAttentionNode<T>::compute_growing(Ort::KernelContext& context) {
  const auto past_key = context.GetInput(kPastKey);
  const auto past_value = context.GetInput(kPastValue);
  const Shape past_shape = shape_of(past_key);
  const AttentionSizes sizes =
      check_attention_shapes(name_, {num_heads_, num_heads_}, shape_of(context.GetInput(kQkv)),
                             past_shape, shape_of(past_value));
  const std::int64_t past_len = past_shape[2];
  const std::int64_t total_len = past_len + sizes.seq_len;
  check(past_shape[0] == sizes.batch, name_, "past_key and qkv must have the same batch");
  check(sizes.batch * num_heads_ <= std::numeric_limits<std::int32_t>::max(), name_,
        "batch is too large");
  const cudaStream_t stream = stream_of(context);

  const Shape present_shape{sizes.batch, num_heads_, total_len, sizes.head_dim};
  kernels::CachedAttentionArgs<T> args;
  args.qkv = raw_data<T>(context.GetInput(kQkv));
  args.key_pool = raw_output<T>(context, kPresentKey, present_shape);
  args.value_pool = raw_output<T>(context, kPresentValue, present_shape);
  args.attention = raw_output<T>(context, kAttention,
                                 Shape{sizes.batch, sizes.seq_len, num_heads_ * sizes.head_dim});
  const auto rows = static_cast<std::size_t>(sizes.batch * num_heads_);
  const std::size_t past_bytes = static_cast<std::size_t>(past_len * sizes.head_dim) * sizeof(T);
  const std::size_t total_bytes = static_cast<std::size_t>(total_len * sizes.head_dim) * sizeof(T);
  if (past_bytes * rows > 0) {
    const auto copy = [&](T* to, const Ort::ConstValue& from) {
      check_launch(cudaMemcpy2DAsync(to, total_bytes, raw_data<T>(from), past_bytes, past_bytes,
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
  auto* tables =
      static_cast<std::int32_t*>(resources_.room->scratch(2 * batch * sizeof(std::int32_t)));
  check_launch(kernels::growing_tables(tables, tables + batch, sizes.batch,
                                       static_cast<std::int32_t>(past_len), stream),
               name_);
  args.block_table = tables;
  args.past_lengths = tables + batch;
  args.rows = sizes.batch;
  args.tokens_per_row = sizes.seq_len;
  args.blocks_per_row = 1;
  args.num_heads = num_heads_;
  args.num_kv_heads = num_heads_;
  args.head_dim = sizes.head_dim;
  args.block_len = total_len;
  args.scale = scale_;
  // Not before the copies and tables are there.
  attend(args, sizes.batch * sizes.seq_len, {stream, false});
}

template class CachedAttentionNode<float>;
template class CachedAttentionNode<__half>;
template class CachedAttentionNode<__nv_bfloat16>;

}  // namespace kvcache::ort
