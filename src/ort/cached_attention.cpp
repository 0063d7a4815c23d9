#include "ort/cached_attention.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/cached_attention_cpu.hpp"
#include "ort/ort_parallel_for.hpp"

namespace kvcache::ort {
namespace {

/// Checks what a wrong value of would turn into a read or write outside the pool.
template <typename T, typename Cache>
void check_tables(const std::string& node, const kernels::CachedAttentionArgs<T, Cache>& args,
                  std::int64_t tokens, std::int64_t blocks) {
  std::int64_t seen = 0;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const std::int64_t begin = args.row_begin(row);
    const std::int64_t size = args.row_size(row);
    check(begin == seen && size >= 0, node,
          "row_offsets must start at 0, never fall and end at the number of tokens");
    seen += size;
    const std::int64_t past = args.past_lengths[row];
    const std::int64_t append_position = args.append_position(row);
    const std::int64_t end = append_position + size;
    check(past >= 0 && append_position >= past && end <= args.blocks_per_row * args.block_len, node,
          "a row's new tokens must follow its past and fit its blocks of block_table");
    const std::int32_t* table = args.block_table + row * args.blocks_per_row;
    for (std::int64_t position = 0; position < end; position += args.block_len) {
      const std::int32_t block = table[position / args.block_len];
      check(block >= 0 && block < blocks, node,
            "block_table must name blocks of the pool for all positions in use");
    }
    if (args.tree_parents != nullptr) {
      for (std::int64_t token = 0; token < size; ++token) {
        const std::int32_t parent = args.tree_parents[begin + token];
        check(parent >= -1 && parent < token, node,
              "tree_parents must be -1 or an earlier token of the same row");
      }
    }
  }
  check(seen == tokens, node,
        "row_offsets must start at 0, never fall and end at the number of tokens");
}

}  // namespace

template <typename T, typename Cache>
CachedAttentionKernel<T, Cache>::CachedAttentionKernel(
    const OrtKernelInfo* info, NodeCounters& counters, const model::LayerGroups& groups,
    GraphFacts& facts, const std::optional<NodeResources>& resources)
    : name_(node_name("CachedAttention", info)),
      settings_(attention_settings<T>(info, name_, resources ? &resources->store : nullptr, groups,
                                      facts)),
      counters_(counters),
      threads_(resources ? &resources->threads : nullptr) {
  if (resources) {
    resources->weights.attentions.insert_or_assign(Ort::ConstKernelInfo(info).GetNodeName(),
                                                   settings_.rules);
  }
}

template <typename T, typename Cache>
OrtStatusPtr CachedAttentionKernel<T, Cache>::ComputeV2(OrtKernelContext* raw_context) {
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
void CachedAttentionKernel<T, Cache>::compute_in_place(Ort::KernelContext& context) {
  InPlaceRun<T, Cache> run =
      in_place_run<T, Cache>(context, name_, heads(), settings_.scale, settings_.group);
  check_tables(name_, run.args, run.tokens, run.blocks);
  bind_in_place(context, name_, run);
  attend(run.args, run.tokens, context);
  counters_.in_place_runs.fetch_add(1, std::memory_order_relaxed);
}

template <typename T, typename Cache>
void CachedAttentionKernel<T, Cache>::compute_growing(Ort::KernelContext& context) {
  const auto qkv = context.GetInput(kQkv);
  const auto past_key = context.GetInput(kPastKey);
  const auto past_value = context.GetInput(kPastValue);
  const Shape past_shape = shape_of(past_key);
  const AttentionSizes sizes =
      check_attention_shapes(name_, heads(), shape_of(qkv), past_shape, shape_of(past_value),
                             kernels::kScaleElements<Cache>);
  const std::int64_t past_len = past_shape[2];
  const std::int64_t total_len = past_len + sizes.seq_len;
  check(past_shape[0] == sizes.batch, name_, "past_key and qkv must have the same batch");
  check(sizes.batch <= std::numeric_limits<std::int32_t>::max(), name_, "batch is too large");

  const auto [num_heads, num_kv_heads] = heads();
  const Shape present_shape{sizes.batch, num_kv_heads, total_len, past_shape[3]};
  auto present_key = context.GetOutput(kPresentKey, present_shape);
  auto present_value = context.GetOutput(kPresentValue, present_shape);
  auto attention =
      context.GetOutput(kAttention, Shape{sizes.batch, sizes.seq_len, num_heads * sizes.head_dim});

  kernels::CachedAttentionArgs<T, Cache> args;
  args.qkv = qkv.template GetTensorData<T>();
  args.key_pool = present_key.template GetTensorMutableData<Cache>();
  args.value_pool = present_value.template GetTensorMutableData<Cache>();
  args.attention = attention.template GetTensorMutableData<T>();

  const std::int64_t past_elements = past_len * past_shape[3];
  const std::int64_t total_elements = total_len * past_shape[3];
  const auto past_bytes = static_cast<std::size_t>(past_elements) * sizeof(Cache);
  for (std::int64_t i = 0; past_bytes > 0 && i < sizes.batch * num_kv_heads; ++i) {
    std::memcpy(args.key_pool + i * total_elements,
                past_key.template GetTensorData<Cache>() + i * past_elements, past_bytes);
    std::memcpy(args.value_pool + i * total_elements,
                past_value.template GetTensorData<Cache>() + i * past_elements, past_bytes);
  }
  counters_.growing_runs.fetch_add(1, std::memory_order_relaxed);
  counters_.past_bytes_copied.fetch_add(
      2 * past_bytes * static_cast<std::size_t>(sizes.batch * num_kv_heads),
      std::memory_order_relaxed);

  // A batch entry of present is a pool block that holds the whole row: from here on, in place.
  std::vector<std::int32_t> block_table(static_cast<std::size_t>(sizes.batch));
  std::iota(block_table.begin(), block_table.end(), 0);
  const std::vector<std::int32_t> past_lengths(block_table.size(),
                                               static_cast<std::int32_t>(past_len));
  args.block_table = block_table.data();
  args.past_lengths = past_lengths.data();
  args.rows = sizes.batch;
  args.tokens_per_row = sizes.seq_len;
  args.blocks_per_row = 1;
  args.num_heads = num_heads;
  args.num_kv_heads = num_kv_heads;
  args.head_dim = sizes.head_dim;
  args.block_len = total_len;
  args.scale = settings_.scale;
  attend(args, sizes.batch * sizes.seq_len, context);
}

template <typename T, typename Cache>
void CachedAttentionKernel<T, Cache>::attend(kernels::CachedAttentionArgs<T, Cache>& args,
                                             std::int64_t tokens,
                                             Ort::KernelContext& context) const {
  args.rules = settings_.rules;
  check(settings_.norm_size == 0 || settings_.norm_size == args.head_dim, name_,
        "q_norm_weight and k_norm_weight must be [head_dim]");
  if (const kernels::Rotary& rotary = args.rules.rotary; rotary.cos != nullptr) {
    check(rotary.dims <= args.head_dim, name_, "cos and sin must have at most head_dim / 2 angles");
    const auto position_ids = context.GetInput(kAttentionPositionIds);
    args.position_ids = position_ids.template GetTensorData<std::int64_t>();
    check(static_cast<std::int64_t>(position_ids.GetTensorTypeAndShapeInfo().GetElementCount()) ==
              tokens,
          name_, "position_ids must be [batch, seq_len]");
    check(std::all_of(args.position_ids, args.position_ids + tokens,
                      [&](auto id) { return id >= 0 && id < rotary.positions; }),
          name_, "position_ids must lie in [0, rows of cos)");
  }
  if (threads_ != nullptr) {
    kernels::cached_attention_cpu(args, *threads_);
  } else {
    kernels::cached_attention_cpu(args, OrtParallelFor(context));
  }
}

template class CachedAttentionKernel<float, float>;
template class CachedAttentionKernel<float, Float16>;
template class CachedAttentionKernel<float, BFloat16>;
template class CachedAttentionKernel<float, std::int8_t>;
template class CachedAttentionKernel<Float16, Float16>;
template class CachedAttentionKernel<BFloat16, BFloat16>;

}  // namespace kvcache::ort
