// How the blocks of fused_layers.cu share a product: worked out once, by the host.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace kvcache::kernels {

inline constexpr int kStripColumns = 8;  // of a weight: what a block takes at least
inline constexpr int kPieceInputs = 32;  // of a strip: what a pair of matrix instructions takes
inline constexpr int kPieceBytes = kPieceInputs * kStripColumns * 2;

inline constexpr int kLayersClusterLog = 2;
inline constexpr int kLayersCluster = 1 << kLayersClusterLog;  // blocks
inline constexpr int kLayersWarpsLog = 4;
inline constexpr int kLayersWarps = 1 << kLayersWarpsLog;
inline constexpr int kLayersThreads = 32 * kLayersWarps;
inline constexpr int kLayersTileRows = 16;  // of a matrix instruction: tokens, or queries
inline constexpr int kStagePieces = 24;     // of the ring of weights
inline constexpr int kStageBytes = kStagePieces * kPieceBytes;
inline constexpr int kSumsElements = 8
                                     << 10;  // float32 that a block's own strips receive in a round
inline constexpr int kStripsOfWarp = 4;      // at most
inline constexpr int kItemsOfThread = 2;     // pairs of columns of a token, at most

/// Whether inputs can be shared by the blocks of a cluster: each has a piece at least.
constexpr bool can_be_shared(int inputs) {
  return inputs % kPieceInputs == 0 && inputs / kPieceInputs >= kLayersCluster;
}

/// Where a product's inputs have their pair number `pair`: lane t of the matrix instruction's four
/// takes pairs 4t … 4t + 3 of a strip's piece, and reads its inputs by matrices of 16 bytes a row,
/// of which that is pair t of each.
constexpr int shuffled_pair(int pair) { return pair / 16 * 16 + pair % 4 * 4 + pair / 4 % 4; }

/// Neighbouring things that one of several takes: as even a share as there is.
struct Share {
  int first;
  int count;

  static constexpr Share of(int all, int one, int several) {
    const int first = all * one / several;
    return {first, all * (one + 1) / several - first};
  }
  static constexpr int most(int all, int several) { return (all + several - 1) / several; }
};

/// A product: a cluster takes some strips, in rounds, each of its blocks some pieces of them. What
/// is a power of two is its logarithm: a division takes longer than a piece's product.
struct ProductPlan {
  int strips = 0;            // of all clusters
  int pieces = 0;            // of all blocks of a cluster
  int round_strips = 0;      // of a cluster, at most; 0: there is no plan
  int owned_strips = 0;      // of a round, whose sums one block ends
  int strip_groups_log = 0;  // of warps
  int piece_groups_log = 0;  // of warps that share a group's strips

  /// 2^token_tiles_log times 16 tokens, each of which a share of the warps works on.
  static constexpr ProductPlan of(int outputs, int inputs, int token_tiles_log, int clusters,
                                  int stages) {
    ProductPlan plan;
    plan.strips = outputs / kStripColumns;
    plan.pieces = inputs / kPieceInputs;
    const int of_block = Share::most(plan.pieces, kLayersCluster);
    const int of_cluster = Share::most(plan.strips, clusters);
    const int warps_log = kLayersWarpsLog - token_tiles_log;
    int least = 0;
    for (int piece_groups_log = 0; piece_groups_log <= warps_log; ++piece_groups_log) {
      const int groups = 1 << (warps_log - piece_groups_log);
      // A token's sums of a strip, of every block and group; the cluster's strips are four blocks'.
      const int sums = kSumsElements >> (7 + token_tiles_log + piece_groups_log);
      int round = of_cluster;
      for (const int most : {groups * kStripsOfWarp, sums, ring_strips(of_block, stages)}) {
        round = round < most ? round : most;
      }
      if (round == 0) {
        continue;
      }
      const int rounds = Share::most(of_cluster, round);
      round = Share::most(of_cluster, rounds);
      // Matrix instructions one behind the other, and what a round costs beyond them.
      const int cost =
          rounds * (Share::most(round, groups) * Share::most(of_block, 1 << piece_groups_log) +
                    kRoundCost + (1 << piece_groups_log));
      if (plan.round_strips == 0 || cost < least) {
        least = cost;
        plan.round_strips = round;
        plan.owned_strips = Share::most(round, kLayersCluster);
        plan.strip_groups_log = warps_log - piece_groups_log;
        plan.piece_groups_log = piece_groups_log;
      }
    }
    return plan;
  }

 private:
  static constexpr int kRoundCost = 20;

  /// Strips of so many pieces that a ring of so many stages holds.
  static constexpr int ring_strips(int pieces, int stages) {
    int strips = 0;
    for (int several = 1; several * pieces <= kStagePieces; several *= 2) {
      strips = stages * several;
    }
    return strips > 0 ? strips : stages / Share::most(pieces, kStagePieces);
  }
};

/// A block's part of a product.
struct ProductPart {
  int first_strip;
  int strips;
  int first_piece;
  int pieces;
  int chunk_strips_log;  // a chunk of the ring is so many strips; negative: a strip is several
  int strip_chunks;
  int round_strips;
  int owned_strips;
  int strip_groups_log;
  int piece_groups_log;
  std::int64_t strip_bytes;  // of all blocks of the cluster

  static constexpr ProductPart of(const ProductPlan& plan, int cluster, int clusters, int rank) {
    const Share strips = Share::of(plan.strips, cluster, clusters);
    const Share pieces = Share::of(plan.pieces, rank, kLayersCluster);
    ProductPart part{strips.first,
                     strips.count,
                     pieces.first,
                     pieces.count,
                     -1,
                     0,
                     plan.round_strips,
                     plan.owned_strips,
                     plan.strip_groups_log,
                     plan.piece_groups_log,
                     std::int64_t{plan.pieces} * kPieceBytes};
    for (int strips_of_chunk = 1; strips_of_chunk * pieces.count <= kStagePieces;
         strips_of_chunk *= 2) {
      ++part.chunk_strips_log;
    }
    part.strip_chunks = Share::most(pieces.count, kStagePieces);
    return part;
  }

  /// Chunks of a round of `count` strips.
  [[nodiscard]] constexpr int chunks(int count) const {
    return chunk_strips_log >= 0 ? (count + (1 << chunk_strips_log) - 1) >> chunk_strips_log
                                 : count * strip_chunks;
  }
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
