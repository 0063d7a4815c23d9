// A decode step of one to four tokens as one kernel, for models whose weights are many.
//
// Weights flow through shared memory in the order of their use, at the memory's speed, whatever
// the blocks wait for meanwhile: a warp has a stream of its own through the whole step. All sizes
// are the model's own business. What only a few models have is what a step has not: see
// DecoderArgs.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/activation.hpp"
#include "kernels/cached_attention_args.hpp"
#include "kernels/cuda/fused_decoder_plan.hpp"
#include "kernels/cuda/fused_token.hpp"
#include "kernels/cuda/linear_cuda.hpp"
#include "kernels/cuda/top_logits_cuda.hpp"

namespace kvcache::kernels {

inline constexpr int kMaxDecoderLayers = 96;
inline constexpr int kMaxDecoderTable = 4096;  // blocks of all rows

struct DecoderInputs {
  std::int32_t count = 1;
  FusedToken tokens[kMaxDecoderTokens];
  std::int32_t block_table[kMaxDecoderTable] = {};  // of all rows
};

/// What a step is given whatever the type of its weights. All pointers are of the device. Norms are
/// of one kind (DecoderSizes::layer_norms) and epsilon.
struct DecoderStepArgs {
  DecoderSizes sizes;
  float embedding_scale = 1;
  const std::int64_t* stream_at = nullptr;  // [blocks, kDecoderWarps]: where streams begin
  DecoderVectors vector_layout;
  float epsilon = 0;
  float query_key_epsilon = 0;
  Activation activation = Activation::none;
  Rotary rotary;
  int block_len_shift = 0;             // block_len is this power of two, and at least 8
  unsigned* exchange = nullptr;        // this step's set; every word is kNotYet
  unsigned* other_exchange = nullptr;  // the one that becomes ready for the next step
  int other_words = 0;                 // what the step before used of it
  TopLogit* best = nullptr;            // [rows], may be of the host; written last, each in one
  float scales[kMaxDecoderLayers] = {};
  DecoderInputs inputs;
};

/// Of weights, cache and logits of one type of 16 bits.
template <typename T>
struct DecoderArgs : DecoderStepArgs {
  const T* token_weight = nullptr;     // [vocab_size, hidden]
  const T* position_weight = nullptr;  // [positions, hidden], or null; with LayerNorm only
  std::int64_t positions = 0;
  const T* stream = nullptr;               // packed by pack_decoder_weight(); begins count pieces
  const T* vectors = nullptr;              // [layers, DecoderVectors::elements]
  const T* last_norm = nullptr;            // [hidden]
  const float4* normed_columns = nullptr;  // by pack_normed_columns(), of LayerNorm
  NormedColumns normed_layout;
  T* logits = nullptr;                   // [rows, vocab_size]
  T* pools[2 * kMaxDecoderLayers] = {};  // a layer's keys, its values; as CachedAttentionArgs
};

inline constexpr const char* kInputsDoNotFit =
    "the inputs of its products do not fit into the GPU's shared memory";

/// Why no kernel is for a model of these sizes on the current device, whatever its weights are, or
/// null.
const char* why_no_decoder_form(const DecoderSizes& sizes, int multiprocessors);

/// The same of weights of 16 bits, and what a block has to hold.
const char* why_no_decoder(const DecoderSizes& sizes, int multiprocessors);

/// Where each warp's stream begins, in pieces: [blocks, kDecoderWarps], and behind them the end of
/// the last.
void decoder_stream_places(const DecoderSizes& sizes, int blocks, std::int64_t* places);

/// Packs one weight of a layer into the streams. `weight` is in panels of 64 columns,
/// [ceil(outputs / 64), inputs, 64], of a gated expansion those of gate and up in turns; of the
/// head it is [vocab_size, hidden].
template <typename T>
cudaError_t pack_decoder_weight(const DecoderSizes& sizes, int layer, DecoderProduct product,
                                const T* weight, const std::int64_t* stream_at, int blocks,
                                T* stream, cudaStream_t stream_of_device);

/// What LayerNorm makes of the columns of a product behind it, a pair of them each: what the
/// weights times the norm's sum up to, and what their norm's and their own biases add. With them,
/// inputs need not be normed before they are multiplied: of x with mean m and deviation s, weight
/// w, norm's weight g and bias b, the sum of w · ((x - m) / s · g + b) is (sum of w · g · x - m ·
/// sum of w · g) / s + sum of w · b. `weight` is as pack_decoder_weight() takes it; `bias`
/// [outputs], of a gate all of one matrix and then of the other, or null.
template <typename T>
cudaError_t pack_normed_columns(const DecoderSizes& sizes, DecoderProduct product, const T* weight,
                                const NormArgs<T>& norm, const T* bias, float4* to,
                                cudaStream_t stream);

/// How many tokens a step may have: 1, 2 or 4.
int most_decoder_tokens(const DecoderSizes& sizes, int multiprocessors);

/// The step. T is __half or __nv_bfloat16; the residual stream is float32 throughout. `exchange` is
/// a token's, of the model's sizes, splits_of_past() of the longest row and as many blocks as there
/// are multiprocessors for a token; `capacity` is 1, 2 or 4, and as many tokens there are at most,
/// each with words for such an exchange.
template <typename T>
cudaError_t fused_decoder(const DecoderArgs<T>& args, const DecoderExchange& exchange, int capacity,
                          int multiprocessors, cudaStream_t stream);

}  // namespace kvcache::kernels
