// Two kernels: one thread block copies a token's new keys and values into the pool; then one block
// per token, head and split attends. Within a block, groups of eight lanes take a position each:
// the group's lanes share its head_dim, and each group keeps a softmax of its own (online, after
// Milakov and Gimelshein, arXiv:1805.02867) that is merged at the end. No barrier stands in the
// loop over positions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cfloat>

#include "ops/cuda/cached_attention_cuda.hpp"

namespace kvcache::ops {
namespace {

constexpr int kThreads = 128;
constexpr int kGroupLanes = 8;
constexpr int kGroups = kThreads / kGroupLanes;
constexpr int kMaxHeadDim = 256;

__device__ float to_float(float value) { return value; }
__device__ float to_float(__half value) { return __half2float(value); }
__device__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ T from_float(float value);
template <>
__device__ float from_float(float value) {
  return value;
}
template <>
__device__ __half from_float(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __nv_bfloat16 from_float(float value) {
  return __float2bfloat16_rn(value);
}

/// A new token: its row, and which of the row's tokens it is.
struct NewToken {
  std::int64_t row;
  std::int64_t begin;  // of its row, among all tokens
  std::int64_t index;  // in its row
};

template <typename T>
__device__ NewToken find_token(const CachedAttentionArgs<T>& args, std::int64_t token) {
  if (args.row_offsets == nullptr) {
    const std::int64_t row = token / args.tokens_per_row;
    return {row, row * args.tokens_per_row, token % args.tokens_per_row};
  }
  std::int64_t low = 0;  // the last row that begins at or before the token
  std::int64_t high = args.rows;
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (args.row_offsets[middle] <= token ? low : high) = middle;
  }
  return {low, args.row_offsets[low], token - args.row_offsets[low]};
}

template <typename T>
__device__ std::int64_t append_position(const CachedAttentionArgs<T>& args, std::int64_t row) {
  return args.append_positions != nullptr ? args.append_positions[row] : args.past_lengths[row];
}

/// Where a position of a row lies in a pool, [head_dim].
template <typename T>
__device__ std::int64_t pool_offset(const CachedAttentionArgs<T>& args, std::int64_t row,
                                    std::int64_t position, std::int64_t head) {
  const std::int64_t block =
      args.block_table[row * args.blocks_per_row + position / args.block_len];
  return ((block * args.num_heads + head) * args.block_len + position % args.block_len) *
         args.head_dim;
}

/// Grid: tokens, heads.
template <typename T>
__global__ void append(CachedAttentionArgs<T> args) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t head = blockIdx.y;
  const NewToken at = find_token(args, token);
  const std::int64_t to = pool_offset(args, at.row, append_position(args, at.row) + at.index, head);
  const T* key = args.qkv + ((token * 3 + 1) * args.num_heads + head) * args.head_dim;
  const T* value = args.qkv + ((token * 3 + 2) * args.num_heads + head) * args.head_dim;
  for (std::int64_t i = threadIdx.x; i < args.head_dim; i += blockDim.x) {
    args.key_pool[to + i] = key[i];
    args.value_pool[to + i] = value[i];
  }
}

/// Sum over the lanes of a group, in all of them.
__device__ float group_sum(float value) {
  for (int offset = kGroupLanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xFFFFFFFFU, value, offset);
  }
  return value;
}

/// A softmax of some positions: their largest score, the sum of exp(score − largest), and the
/// values weighted so. A lane holds elements lane, lane + 8, … of the values.
template <int kElements>
struct Softmax {
  float max = -FLT_MAX;
  float sum = 0;
  float values[kElements] = {};

  __device__ void rescale(float new_max) {
    const float factor = __expf(max - new_max);
    sum *= factor;
    for (float& value : values) {
      value *= factor;
    }
    max = new_max;
  }
};

/// Tokens that `index` sees among the new ones of its row, itself included.
template <typename T>
__device__ std::int64_t visible_new_tokens(const CachedAttentionArgs<T>& args, const NewToken& at) {
  if (args.tree_parents == nullptr) {
    return at.index + 1;
  }
  std::int64_t count = 0;
  for (std::int64_t node = at.index; node >= 0; node = args.tree_parents[at.begin + node]) {
    ++count;
  }
  return count;
}

/// Grid: tokens, heads, splits. With one split writes the attention, else [tokens, heads, splits]
/// of (values [head_dim], max, sum) to `partial`.
template <typename T, int kElements>
__global__ void __launch_bounds__(kThreads)
    attend(CachedAttentionArgs<T> args, float* __restrict__ partial) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t head = blockIdx.y;
  const std::int64_t split = blockIdx.z;
  const std::int64_t splits = gridDim.z;
  const int lane = threadIdx.x % kGroupLanes;
  const int group = threadIdx.x / kGroupLanes;
  const std::int64_t head_dim = args.head_dim;
  const NewToken at = find_token(args, token);
  const std::int64_t past = args.past_lengths[at.row];
  const std::int64_t first_new = append_position(args, at.row);
  const std::int64_t visible = past + visible_new_tokens(args, at);
  const std::int64_t share = (visible + splits - 1) / splits;
  const std::int64_t end = min((split + 1) * share, visible);

  float query[kElements];
  const T* query_from = args.qkv + (token * 3 * args.num_heads + head) * head_dim;
  for (int e = 0; e < kElements; ++e) {
    const int i = lane + e * kGroupLanes;
    query[e] = i < head_dim ? to_float(query_from[i]) * args.scale : 0.0F;
  }

  // A tree's token sees its ancestors: the walk up starts at itself, the last that is visible.
  std::int64_t node = at.index;
  std::int64_t node_number = visible - 1;
  Softmax<kElements> softmax;
  // From the end: so the walk up the tree goes one way. All groups of a warp take part in the sums.
  for (std::int64_t base = end - 1; base >= split * share; base -= kGroups) {
    const std::int64_t number = base - group;
    const bool mine = number >= split * share;
    std::int64_t position = number;
    if (mine && number >= past) {
      if (args.tree_parents == nullptr) {
        position = first_new + number - past;
      } else {
        for (; node_number > number; --node_number) {
          node = args.tree_parents[at.begin + node];
        }
        position = first_new + node;
      }
    }
    const std::int64_t from = mine ? pool_offset(args, at.row, position, head) : 0;
    float dot = 0;
    for (int e = 0; e < kElements; ++e) {
      const int i = lane + e * kGroupLanes;
      dot += mine && i < head_dim ? query[e] * to_float(args.key_pool[from + i]) : 0.0F;
    }
    const float score = group_sum(dot);
    if (mine) {
      if (score > softmax.max) {
        softmax.rescale(score);
      }
      const float weight = __expf(score - softmax.max);
      softmax.sum += weight;
      for (int e = 0; e < kElements; ++e) {
        const int i = lane + e * kGroupLanes;
        if (i < head_dim) {
          softmax.values[e] += weight * to_float(args.value_pool[from + i]);
        }
      }
    }
  }

  // The groups' softmaxes become one.
  __shared__ float maxima[kGroups];
  __shared__ float sums[kGroups];
  __shared__ float values[kGroups][kMaxHeadDim];
  if (lane == 0) {
    maxima[group] = softmax.max;
  }
  __syncthreads();
  float max = -FLT_MAX;
  for (const float one : maxima) {
    max = fmaxf(max, one);
  }
  softmax.rescale(max);
  if (lane == 0) {
    sums[group] = softmax.sum;
  }
  for (int e = 0; e < kElements; ++e) {
    const int i = lane + e * kGroupLanes;
    if (i < head_dim) {
      values[group][i] = softmax.values[e];
    }
  }
  __syncthreads();
  float sum = 0;
  for (const float one : sums) {
    sum += one;
  }
  float* partial_to = partial + ((token * args.num_heads + head) * splits + split) * (head_dim + 2);
  for (std::int64_t i = threadIdx.x; i < head_dim; i += kThreads) {
    float value = 0;
    for (int other = 0; other < kGroups; ++other) {
      value += values[other][i];
    }
    if (splits == 1) {
      args.attention[(token * args.num_heads + head) * head_dim + i] = from_float<T>(value / sum);
    } else {
      partial_to[i] = value;
    }
  }
  if (splits > 1 && threadIdx.x == 0) {
    partial_to[head_dim] = max;
    partial_to[head_dim + 1] = sum;
  }
}

/// Grid: tokens, heads. Makes one softmax of the splits'.
template <typename T>
__global__ void merge_splits(CachedAttentionArgs<T> args, const float* __restrict__ partial,
                             std::int64_t splits) {
  const std::int64_t head_dim = args.head_dim;
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * args.num_heads + blockIdx.y;
  const float* from = partial + at * splits * (head_dim + 2);
  float max = -FLT_MAX;
  for (std::int64_t split = 0; split < splits; ++split) {
    max = fmaxf(max, from[split * (head_dim + 2) + head_dim]);
  }
  for (std::int64_t i = threadIdx.x; i < head_dim; i += blockDim.x) {
    float value = 0;
    float sum = 0;
    for (std::int64_t split = 0; split < splits; ++split) {
      const float* one = from + split * (head_dim + 2);
      const float factor = __expf(one[head_dim] - max);
      value += factor * one[i];
      sum += factor * one[head_dim + 1];
    }
    args.attention[at * head_dim + i] = from_float<T>(value / sum);
  }
}

template <typename T, int kElements>
cudaError_t launch(const CachedAttentionArgs<T>& args, std::int64_t tokens, AttentionSplits splits,
                   float* scratch, cudaStream_t stream) {
  const dim3 of_tokens(static_cast<unsigned>(tokens), static_cast<unsigned>(args.num_heads));
  const dim3 of_splits(of_tokens.x, of_tokens.y, static_cast<unsigned>(splits.count));
  append<<<of_tokens, 64, 0, stream>>>(args);
  attend<T, kElements><<<of_splits, kThreads, 0, stream>>>(args, scratch);
  if (splits.count > 1) {
    merge_splits<<<of_tokens, 64, 0, stream>>>(args, scratch, splits.count);
  }
  return cudaGetLastError();
}

}  // namespace

AttentionSplits AttentionSplits::choose(std::int64_t tokens, std::int64_t num_heads,
                                        std::int64_t max_seq_len, int multiprocessors) {
  constexpr std::int64_t kBlocksPerMultiprocessor = 2;
  constexpr std::int64_t kLeastPositions = 64;  // of a split of a full context
  const std::int64_t wanted =
      kBlocksPerMultiprocessor * multiprocessors / std::max<std::int64_t>(1, tokens * num_heads);
  return {std::clamp<std::int64_t>(wanted, 1,
                                   std::max<std::int64_t>(1, max_seq_len / kLeastPositions))};
}

std::size_t AttentionSplits::scratch_bytes(std::int64_t tokens, std::int64_t num_heads,
                                           std::int64_t head_dim) const {
  return count == 1 ? 0
                    : static_cast<std::size_t>(tokens * num_heads * count * (head_dim + 2)) *
                          sizeof(float);
}

template <typename T>
cudaError_t cached_attention_cuda(const CachedAttentionArgs<T>& args, std::int64_t tokens,
                                  AttentionSplits splits, void* scratch, cudaStream_t stream) {
  if (tokens == 0) {
    return cudaSuccess;
  }
  auto* partial = static_cast<float*>(scratch);
  if (args.head_dim <= 8 * kGroupLanes) {
    return launch<T, 8>(args, tokens, splits, partial, stream);
  }
  if (args.head_dim <= 16 * kGroupLanes) {
    return launch<T, 16>(args, tokens, splits, partial, stream);
  }
  if (args.head_dim <= kMaxHeadDim) {
    return launch<T, kMaxHeadDim / kGroupLanes>(args, tokens, splits, partial, stream);
  }
  return cudaErrorInvalidValue;
}

template cudaError_t cached_attention_cuda(const CachedAttentionArgs<float>&, std::int64_t,
                                           AttentionSplits, void*, cudaStream_t);
template cudaError_t cached_attention_cuda(const CachedAttentionArgs<__half>&, std::int64_t,
                                           AttentionSplits, void*, cudaStream_t);
template cudaError_t cached_attention_cuda(const CachedAttentionArgs<__nv_bfloat16>&, std::int64_t,
                                           AttentionSplits, void*, cudaStream_t);

}  // namespace kvcache::ops
