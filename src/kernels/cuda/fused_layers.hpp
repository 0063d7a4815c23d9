// All layers of a step of many tokens as one kernel: up to 64 in any mix of sequences, prompts and
// trees.
//
// Where fused_tokens.cu keeps each token's stream in every block, here a cluster of blocks owns
// some of a product's columns, and each of its blocks a slice of the inputs: a block reads a slice
// of all tokens and not the whole of them, sums meet in the cluster's shared memory, and only
// results go through the second-level cache. Weights flow through a ring in shared memory, so that
// sizes are the model's own business.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/fused_step.hpp"

namespace kvcache::kernels {

inline constexpr int kMaxLayersTokens = 64;   // of a step
inline constexpr int kMaxLayersTable = 2048;  // blocks in the tables of all rows
inline constexpr int kLayersParts = 4;        // of a layer's exchange

/// A token of a step.
struct LayersToken {
  std::uint64_t sees = 0;  // of its row's new tokens, itself included: a bit each
  std::int32_t id = 0;
  std::int32_t position = 0;
  std::int32_t append_at = 0;  // the position of its row where its key and value go
  std::int32_t table_at = 0;   // where its row's block table begins
};

/// Neighbouring tokens of a row that attend together.
struct LayersTile {
  std::int32_t first = 0;
  std::int32_t count = 0;
  std::int32_t past_length = 0;
  std::int32_t append_at = 0;  // of the row's first new token
  std::int32_t table_at = 0;
  std::int32_t row_tokens = 0;  // new ones of the row
};

struct LayersInputs {
  std::int32_t tokens_count = 0;
  std::int32_t tiles_count = 0;
  std::int32_t logits_count = 0;
  std::int32_t table_count = 0;
  LayersToken tokens[kMaxLayersTokens];
  LayersTile tiles[kMaxLayersTokens];
  std::uint8_t logits_tokens[kMaxLayersTokens] = {};  // whose logits are asked for
  std::int32_t block_table[kMaxLayersTable] = {};     // of all rows
};

/// Where in a step's exchange (exchange.cuh) each result lies, in words of 32 bits: the embedding
/// [kMaxLayersTokens, hidden], float32, then layer after layer.
struct LayersExchange {
  int hidden;
  int inner;

  /// A token's words of a part of a layer: what was attended, 16-bit pairs; the residual stream
  /// then, float32; the inner layer's values, pairs; the residual stream then.
  [[nodiscard]] constexpr int part_words(int part) const {
    return part == 0 ? hidden / 2 : part == 2 ? inner / 2 : hidden;
  }
  [[nodiscard]] constexpr int part(int number) const {
    int at = 0;
    for (int before = 0; before < number; ++before) {
      at += kMaxLayersTokens * part_words(before);
    }
    return at;
  }
  [[nodiscard]] constexpr int attended() const { return part(0); }
  [[nodiscard]] constexpr int after_attention() const { return part(1); }
  [[nodiscard]] constexpr int expanded() const { return part(2); }
  [[nodiscard]] constexpr int after_layer() const { return part(3); }
  [[nodiscard]] constexpr std::int64_t layer(int number) const {
    return std::int64_t{kMaxLayersTokens} * hidden + std::int64_t{number} * part(kLayersParts);
  }
};

/// Memory of the device that a model's steps share, one after the other.
template <typename T>
struct LayersRoom {
  T* queries = nullptr;          // [kMaxLayersTokens, hidden]
  unsigned* arrivals = nullptr;  // of blocks at barriers, over all steps
};

/// Blocks of a step, and its tokens at most; 0 where the device or the model is not for it.
struct LayersLaunch {
  int blocks = 0;
  int tokens = 0;
};

/// Why no kernel is for a model of these sizes on the current device, or null.
const char* why_no_layers(const FusedSizes& sizes);

/// What the current device can do for a model of these sizes.
template <typename T>
LayersLaunch layers_launch(const FusedSizes& sizes);

/// The step, of one token at least: `normalized` [logits_count, hidden] becomes the last norm of
/// the tokens whose logits are asked for. `steps` is how many have been launched with this room:
/// barriers count on from there. `args.exchange` is this step's set, of
/// LayersExchange::layer(layers) words, every one of them kNotYet; `args.other_exchange` is the one
/// that the step before used for `other_tokens` tokens. Of `args`, what is of logits is not used.
template <typename T>
cudaError_t fused_layers(const FusedStepArgs<T>& args, const LayersInputs& inputs,
                         const LayersRoom<T>& room, unsigned steps, int other_tokens,
                         const LayersLaunch& launch, T* normalized, cudaStream_t stream);

}  // namespace kvcache::kernels
