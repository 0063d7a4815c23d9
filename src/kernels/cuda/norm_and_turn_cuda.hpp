// What a layer does with the queries and keys of new tokens before they meet, on CUDA.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/launch_order.hpp"

namespace kvcache::kernels {

/// What a layer does with queries, keys and scores beyond scaling and masking them.
template <typename T>
struct AttentionRulesCuda {
  const T* query_weight = nullptr;  // of an RMSNorm, [head_dim]; null: nothing is normed
  const T* key_weight = nullptr;    // [head_dim]
  float epsilon = 0;
  Rotary rotary;
  std::int64_t window = 0;  // as in AttentionRules
  float soft_cap = 0;
};

/// All pointers are of the device; T is float, __half or __nv_bfloat16.
template <typename T>
struct NormAndTurnArgs {
  const T* qkv = nullptr;  // [tokens, num_heads + 2 · num_kv_heads, head_dim]
  T* out = nullptr;        // the same
  AttentionRulesCuda<T> rules;
  const std::int64_t* position_ids = nullptr;  // [tokens]; outside rotary's tables they give NaN
  std::int64_t tokens = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;  // at most 256
};

/// Norms and turns queries and keys in float32, rounds them to T once, and copies the values, so
/// that the attention kernels find all three as they expect them.
template <typename T>
cudaError_t norm_and_turn_cuda(const NormAndTurnArgs<T>& args, LaunchOrder order);

}  // namespace kvcache::kernels
