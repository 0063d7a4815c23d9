// A decode step of one token as one kernel, for models in Llama's form with weights of 8 and 4
// bits, whose products round what they multiply with to int8 (docs/MODEL_FILE.md). Arithmetic,
// residual stream and logits are float32.
//
// As fused_decoder.cu, whose messages and streams of weights it has.
#pragma once

#include "kernels/cuda/fused_decoder.hpp"
#include "kernels/cuda/quantized_decoder_plan.hpp"
#include "kernels/quantized_weight.hpp"

namespace kvcache::kernels {

/// Of a step. Tokens are multiplied with weights one after the other: of three and four as a
/// captured graph, that took less on the whole.
inline constexpr int kMaxQuantizedDecoderTokens = 2;

/// All pointers are of the device, those within `tokens` too.
struct QuantizedDecoderWeightArgs : DecoderStepArgs {
  QuantizedKind layer_kind;
  QuantizedKind head_kind;
  QuantizedWeight tokens;                 // the embedding
  const unsigned char* stream = nullptr;  // pack_quantized_decoder_weight(); begins count bytes
  const float* vectors = nullptr;         // [layers, DecoderVectors::elements]
  const float* last_norm = nullptr;       // [hidden]
  float* logits = nullptr;                // [vocab_size]
  bool hands_over_rounded = false;        // QuantizedDecoderSizes; set by quantized_decoder()
};

/// Cache is float, __half or __nv_bfloat16.
template <typename Cache>
struct QuantizedDecoderArgs : QuantizedDecoderWeightArgs {
  Cache* pools[2 * kMaxDecoderLayers] = {};  // a layer's keys, its values; as CachedAttentionArgs
};

/// Why no kernel is for a model of these sizes on the current device, or null.
const char* why_no_quantized_decoder(const QuantizedDecoderSizes& sizes, int multiprocessors);

/// How many tokens a step may have: 1 or 2.
int most_quantized_decoder_tokens(const QuantizedDecoderSizes& sizes, int multiprocessors);

/// Where each warp's stream begins, in bytes: [blocks, kDecoderWarps], and behind them the end of
/// the last.
void quantized_decoder_stream_places(const QuantizedDecoderSizes& sizes, int blocks,
                                     std::int64_t* places);

/// Packs one weight of a layer, or the head, into the streams.
cudaError_t pack_quantized_decoder_weight(const QuantizedDecoderSizes& sizes, int layer,
                                          DecoderProduct product, const QuantizedWeight& weight,
                                          const std::int64_t* stream_at, int blocks,
                                          unsigned char* stream, cudaStream_t stream_of_device);

/// The step, as fused_decoder(). `exchange` is of ExchangeElements::floats.
template <typename Cache>
cudaError_t quantized_decoder(const QuantizedDecoderArgs<Cache>& args,
                              const DecoderExchange& exchange, int capacity, int multiprocessors,
                              cudaStream_t stream);

}  // namespace kvcache::kernels
