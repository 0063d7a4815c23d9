// What a block of fused_layers.cu has in shared memory, how it sends into its cluster's, and the
// ring through which its part of all weights comes.
#pragma once

#include <cstdint>

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/fused_layers.hpp"
#include "kernels/cuda/fused_layers_attention.cuh"
#include "kernels/cuda/fused_layers_plan.hpp"

namespace kvcache::kernels {

constexpr int kFetchingWarp = kLayersWarps - 1;
constexpr int kMaxStages = 16;
constexpr int kMaxSlice = 1024;         // of the residual stream, that a block has
constexpr int kMaxClusterStrips = 128;  // of a product

/// What the launch works out once for all blocks.
template <typename T>
struct LayersKernelArgs {
  FusedStepArgs<T> step;
  LayersInputs inputs;
  LayersRoom<T> room;
  LayersLayout layout;
  ProductPlan products[kLayerWeights];
  T* normalized;
  unsigned arrivals;  // at barriers before this step
  int other_tokens;   // of the step that has used the other exchange
};

/// What the ring is given next.
struct NextChunk {
  int chunk;  // counted from the step's first
  int stage;
  int layer;
  int weight;
  int strip;       // of the block's
  int round_left;  // strips of the round
  int piece;
};

/// Static shared memory. What all threads need of the launch's arguments over and over is here:
/// theirs is a small cache.
struct LayersShared {
  CopyBarrier full[kMaxStages];
  CopyBarrier moments_there;
  CopyBarrier sums_there;
  CopyBarrier round_done;
  NextChunk next;
  ProductPart parts[kLayerWeights];
  const unsigned char* weights[kLayerWeights];       // the first layer's, this block's part
  float2 moments[kLayersCluster][kMaxLayersTokens];  // mean, sum of squares about it
  uint4 norm[2][kMaxSlice / 8];      // the next norm's weight and bias, this block's slice of them
  uint4 bias[2][kMaxClusterStrips];  // of the cluster's strips of this product and the next
  LayersInputsShared inputs;
};

/// The block's part of all weights, chunk after chunk through a ring of stages. A chunk is some
/// strips of a round, or of a long strip a part.
template <typename T>
class LayersWeights {
 public:
  __device__ LayersWeights(const LayersKernelArgs<T>& args, unsigned char* dynamic)
      : args_(args), ring_(dynamic + args.layout.ring_at) {}

  /// Asks for chunks as long as there is a stage for them, where all that this block's warps have
  /// waited for is done with; by one warp, always the same.
  __device__ void fetch(LayersShared& shared) const {
    NextChunk next = shared.next;
#pragma unroll 1
    while (next.layer < args_.step.sizes.layers && next.chunk - chunk_ < args_.layout.stages) {
      fetch_one(next, shared);
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      shared.next = next;
    }
    __syncwarp();
  }

  /// Waits for the chunks of a round.
  __device__ void wait(int count, LayersShared& shared) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (lane < count) {
      const bool wraps = stage_ + lane >= args_.layout.stages;
      shared.full[stage_ + lane - (wraps ? args_.layout.stages : 0)].wait(parity_ ^
                                                                          (wraps ? 1U : 0U));
    }
    __syncwarp();
  }

  /// Where a strip of the round has a piece.
  [[nodiscard]] __device__ const uint4* at(const ProductPart& part, int strip, int piece) const {
    int stage = stage_;
    int pieces = 0;  // before it in its stage
    if (part.chunk_strips_log >= 0) {
      stage += strip >> part.chunk_strips_log;
      pieces = (strip & ((1 << part.chunk_strips_log) - 1)) * part.pieces + piece;
    } else {
      stage += strip * part.strip_chunks + piece / kStagePieces;
      pieces = piece % kStagePieces;
    }
    stage -= stage >= args_.layout.stages ? args_.layout.stages : 0;
    return reinterpret_cast<const uint4*>(ring_ + stage * kStageBytes + pieces * kPieceBytes);
  }

  /// On to the next round.
  __device__ void pass(int chunks) {
    chunk_ += chunks;
    stage_ += chunks;
    if (stage_ >= args_.layout.stages) {
      stage_ -= args_.layout.stages;
      parity_ ^= 1U;
    }
  }

 private:
  __device__ void fetch_one(NextChunk& next, LayersShared& shared) const {
    const ProductPart& mine = shared.parts[next.weight];
    if (next.round_left == 0) {
      next.round_left = min(mine.round_strips, mine.strips - next.strip);
    }
    const bool whole = mine.chunk_strips_log >= 0;
    // A chunk ends with its round.
    const int strips = whole ? min(1 << mine.chunk_strips_log, next.round_left) : 1;
    const int pieces = whole ? mine.pieces : min(kStagePieces, mine.pieces - next.piece);
    if (mine.strips > 0) {
      const unsigned char* from = shared.weights[next.weight] + next.layer * layer_bytes() +
                                  next.strip * mine.strip_bytes + next.piece * kPieceBytes;
      CopyBarrier& full = shared.full[next.stage];
      unsigned char* to = ring_ + next.stage * kStageBytes;
      const auto bytes = static_cast<unsigned>(pieces * kPieceBytes);
      // A lane asks for a strip: one after the other they would take longer than a product.
      const auto lane = static_cast<int>(threadIdx.x % 32);
      if (lane == 0) {
        full.expect(static_cast<unsigned>(strips) * bytes);
      }
      __syncwarp();
      if (lane < strips) {
        full.copy(to + lane * static_cast<int>(bytes), from + lane * mine.strip_bytes, bytes,
                  ReadAgain::no);
      }
      ++next.chunk;
      next.stage = next.stage + 1 == args_.layout.stages ? 0 : next.stage + 1;
    }
    next.piece += pieces;
    if (whole || next.piece >= mine.pieces) {
      next.piece = 0;
      next.strip += strips;
      next.round_left -= strips;
    }
    if (next.strip >= mine.strips) {
      next.strip = 0;
      ++next.weight;
    }
    if (next.weight == kLayerWeights) {
      next.weight = 0;
      ++next.layer;
    }
  }

  [[nodiscard]] __device__ std::int64_t layer_bytes() const {
    return args_.step.sizes.layer_elements() * static_cast<std::int64_t>(sizeof(T));
  }

  const LayersKernelArgs<T>& args_;
  unsigned char* ring_;
  int chunk_ = 0;  // the next round's first
  int stage_ = 0;  // its
  unsigned parity_ = 0;
};

}  // namespace kvcache::kernels
