// How the blocks of fused_layers.cu share a product: worked out once, by the host.
#pragma once

#include "kernels/cuda/fused_step.hpp"

namespace kvcache::kernels {

constexpr int kLayersWarps = 16;
constexpr int kLayersThreads = 32 * kLayersWarps;
constexpr int kPieceInputs = 32;    // of a strip: what a pair of matrix instructions takes
constexpr int kPieceBytes = kPieceInputs * kStripColumns * 2;
constexpr int kStagePieces = 24;    // of the ring
constexpr int kStageBytes = kStagePieces * kPieceBytes;
constexpr int kSumsElements = 8 << 10;  // float32 that a block's owned strips receive in a round
constexpr int kStripsOfWarp = 4;        // at most

/// Neighbouring things that one of several takes: as even a share as there is.
struct Share {
  int first;
  int count;

  __host__ __device__ static constexpr Share of(int all, int one, int several) {
    const int first = all * one / several;
    return {first, all * (one + 1) / several - first};
  }
  static constexpr int most(int all, int several) { return (all + several - 1) / several; }
};

/// A product: a cluster takes some strips, in rounds, each of its blocks some pieces of them.
struct ProductPlan {
  int strips = 0;        // of all clusters
  int pieces = 0;        // of all blocks of a cluster
  int round_strips = 0;  // of a cluster, at most
  int strip_groups = 0;  // of warps
  int piece_groups = 0;  // of warps that share a group's strips

  /// Warps that share each 16 tokens: strip_groups · piece_groups of them.
  static ProductPlan of(int outputs, int inputs, int token_tiles, int clusters, int ring_pieces) {
    ProductPlan plan;
    plan.strips = outputs / kStripColumns;
    plan.pieces = inputs / kPieceInputs;
    const int of_block = Share::most(plan.pieces, kLayersCluster);
    const int of_cluster = Share::most(plan.strips, clusters);
    const int warps = kLayersWarps / token_tiles;
    int least = 0;
    for (int piece_groups = 1; piece_groups <= warps; piece_groups *= 2) {
      const int groups = warps / piece_groups;
      const int sums = kSumsElements / (kStripColumns * 16 * token_tiles * piece_groups);
      int round = of_cluster;
      for (const int most : {groups * kStripsOfWarp, sums, ring_pieces / of_block}) {
        round = round < most ? round : most;
      }
      if (round == 0) {
        continue;
      }
      const int rounds = (of_cluster + round - 1) / round;
      round = (of_cluster + rounds - 1) / rounds;
      // Matrix instructions one behind the other, and what a round costs beyond them.
      const int cost = rounds * (Share::most(round, groups) * Share::most(of_block, piece_groups) +
                                 kRoundCost + piece_groups);
      if (plan.round_strips == 0 || cost < least) {
        least = cost;
        plan.round_strips = round;
        plan.strip_groups = groups;
        plan.piece_groups = piece_groups;
      }
    }
    return plan;
  }

 private:
  static constexpr int kRoundCost = 20;
};

/// Dynamic shared memory, in bytes.
struct LayersLayout {
  int row_vectors = 0;  // of a token's inputs, in 16 bytes
  int sums_at = 0;      // of other blocks of the cluster
  int ring_at = 0;
  int stages = 0;
  int bytes = 0;
};

}  // namespace kvcache::kernels
