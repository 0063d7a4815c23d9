// A whole decode step of one token as one kernel.
//
// Kernel by kernel, a step spends most of its time on filling and draining the chip sixty times.
// Here every multiprocessor keeps one block for the whole step. The weights flow through its shared
// memory in the order of their use, whatever the blocks wait for meanwhile; activations go from
// block to block through the second-level cache (exchange.cuh).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/fused_token.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/top_logits_cuda.hpp"
#include "kernels/cuda/weight_strips.hpp"

namespace kvcache::kernels {

inline constexpr int kFusedWarps = 12;
inline constexpr int kFusedThreads = 32 * kFusedWarps;
inline constexpr int kFusedHeadDim = 64;
inline constexpr int kMaxStrips = 4;         // of one weight, that a block takes at most
inline constexpr int kMaxSlots = 24;         // strips of `hidden` inputs in a block's shared memory
inline constexpr int kMaxTableBlocks = 256;  // of a sequence
inline constexpr int kMaxTablesBlocks = 512;  // of all rows of a run
inline constexpr int kMaxFusedLayers = 48;
inline constexpr int kMaxHeadStrips = 64;      // of a block
inline constexpr int kMaxFusedContext = 1152;  // tokens of a sequence
inline constexpr int kMaxFusedTokens = 8;      // of a step
inline constexpr int kMaxLogitsRows = 32;      // of it

/// Parts of the past of a step's token where it has at most so many tokens.
constexpr int splits_of(int tokens) { return tokens == 1 ? 4 : tokens == 2 ? 2 : 1; }

/// Copies of what all blocks read, for a share of them each: where all of them poll the same few
/// lines of memory, they wait in line. Of many tokens' results, writing more costs more than that.
constexpr int copies_of(int tokens) { return tokens <= 4 ? 2 : 1; }

/// The products of a layer, in the order of their use.
enum class LayerWeight { qkv, projection, expansion, contraction };
inline constexpr int kLayerWeights = 4;

/// Sizes of a model, and what follows from them.
struct FusedSizes {
  int layers = 0;
  int hidden = 0;
  int inner = 0;  // of the feed-forward network
  int heads = 0;
  int vocab_size = 0;
  int max_seq_len = 0;

  [[nodiscard]] constexpr int inputs(LayerWeight weight) const {
    return weight == LayerWeight::contraction ? inner : hidden;
  }
  [[nodiscard]] constexpr int outputs(LayerWeight weight) const {
    return weight == LayerWeight::qkv         ? 3 * hidden
           : weight == LayerWeight::expansion ? inner
                                              : hidden;
  }
  [[nodiscard]] constexpr int strips(LayerWeight weight) const {
    return outputs(weight) / kStripColumns;
  }
  [[nodiscard]] constexpr int strip_elements(LayerWeight weight) const {
    return inputs(weight) * kStripColumns;
  }

  /// In strips of `hidden` inputs.
  [[nodiscard]] constexpr int slots_per_strip(LayerWeight weight) const {
    return (inputs(weight) + hidden - 1) / hidden;
  }

  /// Where a weight begins among a layer's packed ones, in elements.
  [[nodiscard]] constexpr std::int64_t weight_at(LayerWeight weight) const {
    std::int64_t at = 0;
    for (int before = 0; before < static_cast<int>(weight); ++before) {
      const auto of = static_cast<LayerWeight>(before);
      at += std::int64_t{inputs(of)} * outputs(of);
    }
    return at;
  }
  [[nodiscard]] constexpr std::int64_t layer_elements() const {
    const auto last = LayerWeight::contraction;
    return weight_at(last) + std::int64_t{inputs(last)} * outputs(last);
  }
};

/// Vectors of a layer in one piece: the two norms' weight and bias, then each product's bias.
struct LayerVectors {
  int hidden;
  int inner;

  [[nodiscard]] constexpr int norm_weight(int norm) const { return 2 * norm * hidden; }
  [[nodiscard]] constexpr int norm_bias(int norm) const { return (2 * norm + 1) * hidden; }
  [[nodiscard]] constexpr int bias(LayerWeight weight) const {
    switch (weight) {
      case LayerWeight::qkv:
        return 4 * hidden;
      case LayerWeight::projection:
        return 7 * hidden;
      case LayerWeight::expansion:
        return 8 * hidden;
      case LayerWeight::contraction:
        break;
    }
    return 8 * hidden + inner;
  }
  [[nodiscard]] constexpr int elements() const { return 9 * hidden + inner; }
};

/// Where in a layer's exchange each result lies, in words of 32 bits. There are copies_of(tokens)
/// of it one after the other.
struct ExchangeLayout {
  int hidden;
  int inner;
  int heads;
  int tokens;  // that a step may have

  [[nodiscard]] constexpr int splits() const { return splits_of(tokens); }
  [[nodiscard]] constexpr int qkv() const { return 0; }  // [tokens, 3 · hidden], pairs
  [[nodiscard]] constexpr int softmaxes() const {        // [tokens, heads, splits]: largest, sum
    return tokens * 3 * hidden / 2;
  }
  [[nodiscard]] constexpr int attention() const {  // [tokens, heads, splits, head_dim], pairs
    return softmaxes() + 2 * tokens * heads * splits();
  }
  [[nodiscard]] constexpr int after_attention() const {  // [tokens, hidden], float32
    return attention() + tokens * heads * splits() * kFusedHeadDim / 2;
  }
  [[nodiscard]] constexpr int expanded() const {  // [tokens, inner], pairs
    return after_attention() + tokens * hidden;
  }
  [[nodiscard]] constexpr int after_layer() const {  // [tokens, hidden], float32
    return expanded() + tokens * inner / 2;
  }
  [[nodiscard]] constexpr int copy_words() const { return after_layer() + tokens * hidden; }
  [[nodiscard]] constexpr int layer_words() const { return copies_of(tokens) * copy_words(); }
};

/// Of one set: a step uses one while it makes the other ready for the next step.
constexpr std::int64_t exchange_words(const FusedSizes& sizes, int blocks, int tokens) {
  const ExchangeLayout layer{sizes.hidden, sizes.inner, sizes.heads, tokens};
  const std::int64_t words = std::int64_t{sizes.layers} * layer.layer_words() + 2 * blocks * tokens;
  return (words + 3) / 4 * 4;
}

/// What changes from step to step. The launch itself brings it: nothing is copied.
struct FusedStepInputs {
  std::int64_t input_id = 0;
  std::int64_t position_id = 0;
  std::int32_t past_length = 0;
  std::int32_t block_table[kMaxTableBlocks] = {};
};

/// The same of a step of several tokens.
struct FusedTokensInputs {
  std::int32_t count = 0;
  FusedToken tokens[kMaxFusedTokens];
  std::int32_t block_table[kMaxTablesBlocks] = {};  // of all rows
};

/// All pointers are of the device.
template <typename T>
struct FusedStepArgs {
  FusedSizes sizes;
  const T* token_weight = nullptr;     // [vocab_size, hidden]
  const T* position_weight = nullptr;  // [max_seq_len, hidden]
  const T* head_weight = nullptr;      // [vocab_size, hidden]
  const T* weights = nullptr;          // [layers, layer_elements], packed by pack_strips()
  const T* vectors = nullptr;          // [layers, LayerVectors::elements]
  NormArgs<T> last_norm;               // epsilon is that of all norms
  int block_len_shift = 0;             // block_len is this power of two, and at least 8
  unsigned* exchange = nullptr;        // this step's set; every word is kNotYet
  unsigned* other_exchange = nullptr;
  T* logits = nullptr;                 // [vocab_size]
  TopLogit* best = nullptr;            // may be memory of the host; written last of all, in one
  T* pools[2 * kMaxFusedLayers] = {};  // a layer's keys, its values; as CachedAttentionArgs
  float scales[kMaxFusedLayers] = {};
  FusedStepInputs inputs;
};

/// Why the kernel cannot run a model of these sizes on the current device, or null.
const char* why_not_fused(const FusedSizes& sizes, int multiprocessors);

/// A weight in panels of 64 columns, [ceil(outputs / 64), inputs, 64], to strips of kStripColumns
/// columns as the matrix instruction takes them: [outputs / 8, inputs / 32, 8, 4, 8], where a
/// column has four times eight neighbouring inputs. inputs is a multiple of 32, outputs of 8.
template <typename T>
cudaError_t pack_strips(const T* panels, int inputs, int outputs, T* strips, cudaStream_t stream);

/// The step. T is __half or __nv_bfloat16; the residual stream is float32 throughout.
template <typename T>
cudaError_t fused_step(const FusedStepArgs<T>& args, int multiprocessors, cudaStream_t stream);

/// The same with the most tokens that a step may have: 0 where even two are too many.
int most_fused_tokens(const FusedSizes& sizes, int multiprocessors);

/// A step of several tokens, in any mix of sequences, prompts and trees. `args.inputs` is not used;
/// `args.exchange` is for `capacity` tokens, which is 2, 4 or 8; logits [rows, vocab_size], best
/// [rows].
template <typename T>
cudaError_t fused_tokens(const FusedStepArgs<T>& args, const FusedTokensInputs& inputs,
                         int capacity, int multiprocessors, cudaStream_t stream);

}  // namespace kvcache::kernels
