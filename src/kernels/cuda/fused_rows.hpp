// All layers and the logits of many rows as one kernel: the trees and sequences of many games.
//
// Where fused_tokens.cu shares each product among all blocks, which then wait for each other, here
// two blocks, a cluster, take whole rows, sequences or trees, through all layers: up to 64 tokens,
// which attend to nothing but their own past and each other. Nobody waits for the other clusters,
// and any number of them follow each other. What it costs is that each reads all weights; so it is
// for models that stay in the second-level cache, as searches have them, and for many rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/fused_rows_plan.hpp"
#include "kernels/cuda/fused_step.hpp"

namespace kvcache::kernels {

/// A token of a run.
struct RowsToken {
  std::uint64_t sees = 0;  // of its row's new tokens, itself included: a bit each
  std::int32_t id = 0;
  std::int32_t position = 0;
  std::int32_t append_block = 0;  // of the pools, where its key and value go
  std::int32_t append_place = 0;  // in it
};

/// Neighbouring tokens of a row that attend together.
struct RowsTile {
  std::int32_t first = 0;
  std::int32_t count = 0;
  std::int32_t past_length = 0;
  std::int32_t append_at = 0;  // of the row's first new token
  std::int32_t table_at = 0;
  std::int32_t row_tokens = 0;  // new ones of the row
};

/// Where a token's logits go.
struct RowsLogits {
  std::int32_t row = 0;
  std::int32_t token = 0;  // of the unit
};

/// What a cluster works on: neighbours in the lists below.
struct RowsUnit {
  std::int32_t first_token = 0;
  std::int32_t tokens = 0;
  std::int32_t first_tile = 0;
  std::int32_t tiles = 0;
  std::int32_t first_block = 0;  // of the cache, in the table
  std::int32_t blocks = 0;
  std::int32_t first_logits = 0;
  std::int32_t logits = 0;
};

/// A run's inputs, in memory that the device reads: of its own, or page-locked of the host.
struct RowsInputs {
  const RowsUnit* units = nullptr;
  const RowsToken* tokens = nullptr;
  const RowsTile* tiles = nullptr;  // first and table_at are of the unit
  const std::int32_t* table = nullptr;
  const RowsLogits* logits = nullptr;
  int unit_count = 0;
};

/// All pointers are of the device.
template <typename T>
struct FusedRowsArgs {
  RowsSizes sizes;
  const T* token_weight = nullptr;     // [vocab_size, hidden]
  const T* position_weight = nullptr;  // [max_seq_len, hidden]
  const uint4* weights = nullptr;      // RowsStream, packed by pack_rows()
  const T* vectors = nullptr;          // [layers, LayerVectors::elements]
  NormArgs<T> last_norm;               // epsilon is that of all norms
  int block_len_shift = 0;             // block_len is this power of two, and at least 8
  T* logits = nullptr;                 // [rows of logits, vocab_size]
  T* host_logits = nullptr;            // of the host, or null: there too, a row before its best
  T* last = nullptr;         // [rows of logits, hidden]: what the last norm is of, or null
  TopLogit* best = nullptr;  // [rows of logits]; may be memory of the host
  T* pools[2 * kMaxFusedLayers] = {};  // a layer's keys, its values; as CachedAttentionArgs
  float scales[kMaxFusedLayers] = {};
};

/// How many tiles of tokens a block of the current device has room for; 0 where the model or the
/// device is none for the kernel.
int most_rows_tiles(const RowsSizes& sizes);

/// One of a layer's products, `weight` in panels of 64 columns [ceil(outputs / 64), inputs, 64], or
/// the head's [outputs, inputs], to its places in the stream.
template <typename T>
cudaError_t pack_rows(const RowsSizes& sizes, const T* weight, int layer, RowsWeight which,
                      uint4* stream_of_weights, cudaStream_t stream);

/// The run. `tiles` is at least that of every unit's tokens, and at most most_rows_tiles(). T is
/// __half or __nv_bfloat16; inputs of products are rounded to it, as in the graph, and the residual
/// stream, sums, norms and the softmax are float32.
template <typename T>
cudaError_t fused_rows(const FusedRowsArgs<T>& args, const RowsInputs& inputs, int tiles,
                       cudaStream_t stream);

}  // namespace kvcache::kernels
