// What a block of the fused step has: its part of every weight, and shared memory.
//
// A step is a chain of some three hundred short pieces of work, each waiting for the one before, so
// every instruction on the way counts: sizes are template arguments, and what a block does in every
// layer is worked out once.
#pragma once

#include "kernels/cuda/bulk_copy.cuh"
#include "kernels/cuda/exchange.cuh"
#include "kernels/cuda/fused_step.hpp"

namespace kvcache::kernels {

constexpr int kStripInputs = 32;  // that a pair of matrix instructions takes

/// A model's sizes as the compiler knows them.
template <int kHeadCount>
struct FusedShape {
  static constexpr int kHeads = kHeadCount;
  static constexpr int kSplits = splits_of(1);
  static constexpr int kCopies = copies_of(1);
  static constexpr int kHidden = kHeads * kFusedHeadDim;
  static constexpr int kInner = 4 * kHidden;
  static constexpr int kPairs = kHidden / 2;
  static constexpr int kPairsOfThread = (kPairs + kFusedThreads - 1) / kFusedThreads;
  static constexpr int kPieces = kHidden / kStripInputs;
  static constexpr int kInnerPieces = kInner / kStripInputs;
  static constexpr int kSlotBytes = 2 * kHidden * kStripColumns;

  static constexpr FusedSizes sizes() { return {0, kHidden, kInner, kHeads, 0, 0}; }
  static constexpr LayerVectors vectors() { return {kHidden, kInner}; }
  static constexpr ExchangeLayout exchange() { return {kHidden, kInner, kHeads, 1}; }
};

/// The strips of a weight that a block works on: as even a share as there is, of blocks `from` ….
struct StripShare {
  int first;
  int count;

  __host__ __device__ static constexpr StripShare of(int strips, int block, int blocks, int from) {
    if (block < from) {
      return {0, 0};
    }
    const int first = strips * (block - from) / (blocks - from);
    return {first, strips * (block - from + 1) / (blocks - from) - first};
  }
  static constexpr int most(int strips, int blocks, int from) {
    return (strips + blocks - from - 1) / (blocks - from);
  }
};

/// Dynamic shared memory, in bytes: slots for strips of `hidden` inputs, the inputs of products,
/// and the residual stream. A layer's weights have the last slots; those before them are the head's
/// alone, and in the end it has all.
struct FusedSharedLayout {
  int slots;
  int weight_slot[kLayerWeights + 1];
  int projection_from;  // the first block that has a part of the projection
  int high_at;          // [hidden] 16-bit
  int low_at;           // [hidden] 16-bit
  int residual_at;      // [hidden] float32
  int inner_at;         // [inner] 16-bit
  int bytes;

  /// In at most `capacity` bytes; `slots` is 0 where that is too little. Blocks that attend have no
  /// part of the projection, which waits for them, if there is room for that.
  static FusedSharedLayout of(const FusedSizes& sizes, int blocks, int capacity) {
    return of(sizes, blocks, capacity, sizes.heads * splits_of(1),
              8 * sizes.hidden + 2 * sizes.inner);
  }

  /// The same for steps of so many tokens, whose inputs begin at `high_at`: in the end the rows of
  /// TokensShape, rounded and what rounding took, or those of the contraction.
  static FusedSharedLayout of_tokens(const FusedSizes& sizes, int blocks, int capacity,
                                     int tokens) {
    constexpr int kPadding = 64;
    const int normalized = 2 * (2 * sizes.hidden + kPadding);
    const int expanded = 2 * sizes.inner + kPadding;
    return of(sizes, blocks, capacity, sizes.heads * tokens * splits_of(tokens),
              tokens * (normalized > expanded ? normalized : expanded));
  }

  [[nodiscard]] __host__ __device__ int first_block(LayerWeight weight) const {
    return weight == LayerWeight::projection ? projection_from : 0;
  }

 private:
  static FusedSharedLayout of(const FusedSizes& sizes, int blocks, int capacity, int attending,
                              int input_bytes) {
    for (const int projection_from : {attending, 0}) {
      const FusedSharedLayout layout =
          with_projection_from(sizes, blocks, capacity, projection_from, input_bytes);
      if (layout.slots > 0) {
        return layout;
      }
    }
    return {};
  }

  static FusedSharedLayout with_projection_from(const FusedSizes& sizes, int blocks, int capacity,
                                                int projection_from, int inputs) {
    if (projection_from >= blocks) {
      return {};
    }
    FusedSharedLayout layout{};
    layout.projection_from = projection_from;
    const int slot_bytes = sizes.hidden * kStripColumns * 2;
    int of_layer = 0;
    for (int w = 0; w < kLayerWeights; ++w) {
      const auto weight = static_cast<LayerWeight>(w);
      const int most = StripShare::most(sizes.strips(weight), blocks, layout.first_block(weight));
      if (most > kMaxStrips) {
        return {};
      }
      layout.weight_slot[w] = of_layer;
      of_layer += most * sizes.slots_per_strip(weight);
    }
    layout.weight_slot[kLayerWeights] = of_layer;
    const int fitting = (capacity - inputs) / slot_bytes;
    if (fitting < of_layer) {
      return {};
    }
    layout.slots = fitting < kMaxSlots ? fitting : kMaxSlots;
    for (int& slot : layout.weight_slot) {
      slot += layout.slots - of_layer;
    }
    layout.high_at = layout.slots * slot_bytes;
    layout.low_at = layout.high_at + 2 * sizes.hidden;
    layout.residual_at = layout.low_at + 2 * sizes.hidden;
    layout.inner_at = layout.residual_at + 4 * sizes.hidden;
    layout.bytes = layout.high_at + inputs;
    return layout;
  }
};

/// Static shared memory.
struct FusedShared {
  CopyBarrier layer_arrivals[kLayerWeights];
  CopyBarrier head_arrivals[kMaxHeadStrips];    // one each, so that any warp may wait for any
  float2 sums[kFusedWarps][kStripColumns / 2];  // of a product, each warp's
  float2 moments[kFusedWarps];
  float2 values[kFusedWarps][32];  // of an attention, each warp's, a pair of elements a lane
  float2 softmaxes[kFusedWarps];   // largest score, sum
  TopLogit bests[kFusedWarps];
  float2 token_sums[kFusedWarps]
                   [32];  // of a product, each warp's, a token's pair of columns a lane
  TopLogit token_bests[kFusedWarps][kMaxFusedTokens];
};

}  // namespace kvcache::kernels
