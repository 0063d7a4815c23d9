// The tensors of `CachedAttention`, checked, for the kernels of every device.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "kernels/cached_attention_args.hpp"
#include "ort/attention_settings.hpp"
#include "ort/tensor_access.hpp"

namespace kvcache::ort {

enum AttentionInput : std::size_t {
  kQkv,
  kPastKey,
  kPastValue,
  kBlockTable,
  kPastLengths,
  kAppendPositions,
  kRowOffsets,
  kTreeParents,
  kAttentionPositionIds,  // from here on optional
  kCos,
  kSin,
  kQueryNormWeight,
  kKeyNormWeight,
  kAttentionInputs
};
enum AttentionOutput : std::size_t { kAttention, kPresentKey, kPresentValue };

/// Heads of queries, and of keys and values.
struct AttentionHeads {
  std::int64_t queries;
  std::int64_t keys;
};

/// Sizes that follow from the shapes of `qkv` and `past_key`.
struct AttentionSizes {
  std::int64_t batch;
  std::int64_t seq_len;
  std::int64_t head_dim;
};

/// `scale_elements`: how much longer than head_dim the rows of past_key are.
inline AttentionSizes check_attention_shapes(const std::string& node, AttentionHeads heads,
                                             const Shape& qkv, const Shape& past_key,
                                             const Shape& past_value,
                                             std::int64_t scale_elements = 0) {
  check(qkv.size() == 3, node,
        "qkv must be [batch, seq_len, (num_heads + 2 * num_kv_heads) * head_dim]");
  check(past_key.size() == 4, node,
        "past_key must be [batch, num_kv_heads, past_len, head_dim] or a pool [blocks, "
        "num_kv_heads, block_len, head_dim]; of int8, the last axis is head_dim + 2");
  check(past_key == past_value, node, "past_key and past_value must have the same shape");
  check(past_key[1] == heads.keys, node, "past_key must have num_kv_heads heads");
  const std::int64_t head_dim = past_key[3] - scale_elements;
  check(qkv[2] == (heads.queries + 2 * heads.keys) * head_dim, node,
        "qkv's last axis must be (num_heads + 2 * num_kv_heads) * head_dim");
  return {qkv[0], qkv[1], head_dim};
}

/// A run over the cache's pools, but for its outputs.
template <typename T, typename Cache = T>
struct InPlaceRun {
  kernels::CachedAttentionArgs<T, Cache> args;
  std::int64_t tokens = 0;
  std::int64_t blocks = 0;
  AttentionSizes sizes{};
};

/// The run's inputs, after checking that their shapes agree.
template <typename T, typename Cache = T>
InPlaceRun<T, Cache> in_place_run(const Ort::KernelContext& context, const std::string& node,
                                  AttentionHeads heads, float scale, GroupRows group) {
  const auto qkv = context.GetInput(kQkv);
  const auto past_lengths = context.GetInput(kPastLengths);
  const auto append_positions = context.GetInput(kAppendPositions);
  const auto row_offsets = context.GetInput(kRowOffsets);
  const auto tree_parents = context.GetInput(kTreeParents);
  const Shape pool_shape = shape_of(context.GetInput(kPastKey));
  const Shape table_shape = shape_of(context.GetInput(kBlockTable));
  InPlaceRun<T, Cache> run;
  run.sizes = check_attention_shapes(node, heads, shape_of(qkv), pool_shape,
                                     shape_of(context.GetInput(kPastValue)),
                                     kernels::kScaleElements<Cache>);
  run.tokens = run.sizes.batch * run.sizes.seq_len;
  run.blocks = pool_shape[0];
  check(table_shape.size() == 2 && table_shape[0] % group.groups == 0, node,
        "block_table must be [rows, blocks_per_row], the rows of each group of layers");

  kernels::CachedAttentionArgs<T, Cache>& args = run.args;
  args.qkv = raw_data<T>(qkv);
  args.rows = table_shape[0] / group.groups;
  args.blocks_per_row = table_shape[1];
  args.block_table = raw_data<std::int32_t>(context.GetInput(kBlockTable)) +
                     group.group * args.rows * args.blocks_per_row;
  args.past_lengths = optional_data<std::int32_t>(past_lengths);
  args.append_positions = optional_data<std::int32_t>(append_positions);
  args.row_offsets = optional_data<std::int32_t>(row_offsets);
  args.tree_parents = optional_data<std::int32_t>(tree_parents);
  args.tokens_per_row = run.sizes.seq_len;
  args.num_heads = heads.queries;
  args.num_kv_heads = heads.keys;
  args.head_dim = run.sizes.head_dim;
  args.block_len = pool_shape[2];
  args.scale = scale;
  check(shape_of(past_lengths) == Shape{args.rows}, node,
        "past_lengths must be [rows], as many as block_table has for a group of layers");
  check(args.append_positions == nullptr || shape_of(append_positions) == Shape{args.rows}, node,
        "append_positions must be [rows], or empty");
  check(args.row_offsets != nullptr ? shape_of(row_offsets) == Shape{args.rows + 1}
                                    : args.rows == run.sizes.batch,
        node, "row_offsets must be [rows + 1], or empty when the rows are the batch");
  check(args.tree_parents == nullptr || shape_of(tree_parents) == Shape{run.tokens}, node,
        "tree_parents must have one entry per token, or be empty");
  return run;
}

/// Completes `run` with its outputs, of which the presents must be the pasts' own buffers.
template <typename T, typename Cache>
void bind_in_place(Ort::KernelContext& context, const std::string& node,
                   InPlaceRun<T, Cache>& run) {
  const auto past_key = context.GetInput(kPastKey);
  const auto past_value = context.GetInput(kPastValue);
  run.args.key_pool = raw_output<Cache>(context, kPresentKey, shape_of(past_key));
  run.args.value_pool = raw_output<Cache>(context, kPresentValue, shape_of(past_value));
  check(run.args.key_pool == raw_data<Cache>(past_key) &&
            run.args.value_pool == raw_data<Cache>(past_value),
        node,
        "with block_table, present_key and present_value must be bound to the buffers of past_key "
        "and past_value");
  run.args.attention = raw_output<T>(
      context, kAttention,
      Shape{run.sizes.batch, run.sizes.seq_len, run.args.num_heads * run.sizes.head_dim});
}

}  // namespace kvcache::ort
