// What a decoder's attention has to know of the past, whatever the type of the cache.
#pragma once

#include <cfloat>

#include "kernels/cuda/decoder_block.cuh"
#include "kernels/cuda/norm_and_turn.cuh"

namespace kvcache::kernels {

/// Into the second-level cache.
__device__ inline void fetch_line(const void* line) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(line));
}

/// The angles of a token's position, by all threads.
__device__ inline void load_decoder_angles(const DecoderStepArgs& args, std::int64_t position,
                                           float* cosines, float* sines) {
  const Rotary& rotary = args.rotary;
  const int pairs = static_cast<int>(rotary.dims) / 2;
  const bool known = position >= 0 && position < rotary.positions;
  for (int i = static_cast<int>(threadIdx.x); i < pairs; i += kDecoderThreads) {
    cosines[i] = known ? rotary.cos[position * pairs + i] : nanf("");
    sines[i] = known ? rotary.sin[position * pairs + i] : nanf("");
  }
}

/// Where a position of a row lies in a pool, in vectors of head_dim.
__device__ inline std::int64_t decoder_row(const DecoderStepArgs& args, int table_at, int kv_head,
                                           int position) {
  const int number = position >> args.block_len_shift;
  const auto block = static_cast<std::int64_t>(args.inputs.block_table[table_at + number]);
  return ((block * args.sizes.kv_heads + kv_head) << args.block_len_shift) + position -
         (number << args.block_len_shift);
}

/// A block's token, its head of keys, and its part of the positions: those of the past, and behind
/// them the new tokens that it sees, of which it is the last.
struct SplitOfPast {
  int token;
  int kv_head;
  int split;
  int past;  // positions
  int table_at;
  int append_at;
  unsigned seen_tokens;  // the new ones: four bits each
  int seen;              // so many
  int first;
  int end;

  /// kTokens: of a step, at most.
  template <int kTokens>
  __device__ static SplitOfPast of(const DecoderStepArgs& args, const DecoderExchange& exchange,
                                   int block) {
    SplitOfPast place{};
    if constexpr (kTokens > 1) {
      const int of_token = args.sizes.kv_heads * exchange.splits;
      place.token = block / of_token;
      block %= of_token;
      if (place.token >= args.inputs.count) {
        place.kv_head = args.sizes.kv_heads;  // takes no part
        return place;
      }
      const FusedToken& token = args.inputs.tokens[place.token];
      place.table_at = token.table_at;
      place.append_at = token.append_at;
      for (unsigned left = token.sees; left != 0; left &= left - 1) {
        place.seen_tokens |= static_cast<unsigned>(__ffs(static_cast<int>(left)) - 1)
                             << 4 * place.seen++;
      }
    }
    place.kv_head = block / exchange.splits;
    place.split = block % exchange.splits;
    place.past = args.inputs.tokens[place.token].past_length;
    if constexpr (kTokens == 1) {
      place.append_at = place.past;
      place.seen = 1;
    }
    const int length = place.past + place.seen;
    const int share = positions_of_split(length, exchange.splits);
    place.first = place.split * share;
    place.end = place.first + share < length ? place.first + share : length;
    return place;
  }

  [[nodiscard]] __device__ int units() const {
    return first < end ? divide_up(end - first, kDecoderUnit) : 0;
  }
  /// The new tokens in it, of those that are seen.
  [[nodiscard]] __device__ int first_new() const { return first > past ? first - past : 0; }
  [[nodiscard]] __device__ int new_tokens() const {
    const int new_end = end - past;
    return first < end && new_end > first_new() ? new_end - first_new() : 0;
  }
  /// The number of a new token that is seen.
  [[nodiscard]] __device__ int seen_token(int which) const {
    return static_cast<int>(seen_tokens >> 4 * which & 0xFU);
  }
};

/// Brings a layer's part of the past into the second-level cache, by the warps that compute.
template <int kHeadDim, typename Args>
__device__ void fetch_past(const Args& args, const SplitOfPast& place, int units, int warp,
                           int lane, int layer) {
  constexpr int kLine = 128;  // bytes
  constexpr int kLines = kHeadDim * static_cast<int>(sizeof(*args.pools[0])) / kLine;
#pragma unroll 1
  for (int number = warp; number < units; number += kDecoderWarps) {
    const int position = place.first + number * kDecoderUnit + lane / 4;
    if (position < place.past && lane % 4 < kLines) {
      const std::int64_t at =
          decoder_row(args, place.table_at, place.kv_head, position) * kHeadDim +
          lane % 4 * (kHeadDim / kLines);
      fetch_line(args.pools[2 * layer] + at);
      fetch_line(args.pools[2 * layer + 1] + at);
    }
  }
}

/// Which vector of the product of queries, keys and values is number `vector` of a block's: its
/// queries, then the key and the value of each new token in its part.
struct VectorOfBlock {
  bool is_query;
  bool is_value;
  int seen;    // which of the new tokens that are seen; of a query, the block's own, the last
  int number;  // among a token's vectors

  __device__ VectorOfBlock(const DecoderSizes& sizes, const SplitOfPast& place, int group,
                           int vector)
      : is_query(vector < group),
        is_value(!is_query && (vector - group) % 2 == 1),
        seen(is_query ? place.seen - 1 : place.first_new() + (vector - group) / 2),
        number(is_query ? place.kv_head * group + vector
                        : sizes.heads + place.kv_head + (is_value ? sizes.kv_heads : 0)) {}
};

/// Norms and turns a warp's query or key, by the angles of its position.
template <int kHeadDim, typename Args>
__device__ void norm_and_turn(const Args& args, const float* cosines, const float* sines, int layer,
                              bool is_query, float* vector) {
  if (const int norm = is_query ? args.vector_layout.query_norm : args.vector_layout.key_norm;
      norm >= 0) {
    norm_vector(args.vectors + std::int64_t{layer} * args.vector_layout.elements + norm, kHeadDim,
                args.query_key_epsilon, vector);
  }
  turn_vector(cosines, sines, static_cast<int>(args.rotary.dims) / 2, args.rotary.interleaved,
              vector);
}

/// What a sum of weights is divided by. Nothing seen: zero. Not a number stays so.
__device__ inline float share_of_sum(float sum) {
  return sum == 0.0F ? 0.0F : __fdividef(1.0F, sum);
}

/// Calls send(head, pair, value, softmax) for each pair of elements of each of a block's heads,
/// what the softmaxes of its `parts` come to: [parts, group] of them in `shared`, and their values
/// [parts, group, head_dim] in `room`. A softmax is its largest score and its sum.
template <int kHeadDim, typename Static, typename Send>
__device__ void merge_parts(const Static& shared, const float* room, int parts, int group,
                            const Send& send) {
  constexpr int kPairs = kHeadDim / 2;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < group * kPairs; i += kDecoderThreads) {
    const int head = i / kPairs;
    float max = -FLT_MAX;
#pragma unroll 4
    for (int part = 0; part < parts; ++part) {
      max = fmaxf(max, shared.softmaxes[part][head].x);
    }
    float sum = 0;
    float2 value{0.0F, 0.0F};
#pragma unroll 4
    for (int part = 0; part < parts; ++part) {
      const float2 softmax = shared.softmaxes[part][head];
      const float factor = exp2_of(softmax.x - max);
      sum += factor * softmax.y;
      const float2 one = *reinterpret_cast<const float2*>(room + (part * group + head) * kHeadDim +
                                                          i % kPairs * 2);
      value.x += factor * one.x;
      value.y += factor * one.y;
    }
    const float share = share_of_sum(sum);
    send(head, i % kPairs, float2{value.x * share, value.y * share}, float2{max, sum});
  }
}

/// Eight elements of splits' softmaxes to one.
struct SplitsMerged {
  float max = -FLT_MAX;
  float sum = 0;
  Octet values = {};

  __device__ void add(float of_max, float of_sum, const Octet& of_values) {
    const float raised = fmaxf(max, of_max);
    const float factor = exp2_of(max - raised);
    const float weight = exp2_of(of_max - raised) * of_sum;
    max = raised;
    sum = sum * factor + weight;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      values.values[e] = values.values[e] * factor + weight * of_values.values[e];
    }
  }

  [[nodiscard]] __device__ Octet total() const {
    const float share = share_of_sum(sum);
    Octet total = values;
#pragma unroll
    for (float& value : total.values) {
      value *= share;
    }
    return total;
  }
};

}  // namespace kvcache::kernels
