// How the GPU's kernel of all layers shares its products, of random sizes.
#include "kernels/cuda/fused_layers_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::Random;

/// A product that some GPU shares.
struct SharedProduct {
  int outputs;
  int inputs;
  int tiles_log;
  int clusters;
  int stages;

  explicit SharedProduct(Random& random)
      : outputs(kStripColumns * static_cast<int>(random.integer(1, 700))),
        inputs(kPieceInputs * static_cast<int>(random.integer(kLayersCluster, 500))),
        tiles_log(static_cast<int>(random.integer(0, 2))),
        clusters(static_cast<int>(random.integer(1, 40))),
        stages(static_cast<int>(random.integer(3, 16))) {}

  [[nodiscard]] ProductPlan plan() const {
    return ProductPlan::of(outputs, inputs, tiles_log, clusters, stages);
  }
};

/// Counts how often a round's warps multiply each piece of each strip.
void count_products(const ProductPart& part, int tiles_log, int first, int count,
                    std::vector<int>& times, int all_pieces) {
  const int warps = kLayersWarps >> tiles_log;
  const int groups = 1 << part.strip_groups_log;
  for (int warp = 0; warp < warps; ++warp) {
    const int group = warp % groups;
    const int share = warp / groups;
    const int begin = part.pieces * share >> part.piece_groups_log;
    const int end = part.pieces * (share + 1) >> part.piece_groups_log;
    const int own = (count - group + groups - 1) >> part.strip_groups_log;
    ASSERT_LE(own, kStripsOfWarp);
    for (int i = 0; i < own; ++i) {
      for (int piece = begin; piece < end; ++piece) {
        const int strip = part.first_strip + first + group + i * groups;
        ++times.at(static_cast<std::size_t>(strip) * static_cast<std::size_t>(all_pieces) +
                   static_cast<std::size_t>(part.first_piece + piece));
      }
    }
  }
}

TEST(FusedLayersPlan, EveryPieceOfEveryStripIsMultipliedOnceAndFits) {
  test::for_random_cases(400, [](Random& random) {
    const SharedProduct of(random);
    const ProductPlan plan = of.plan();
    if (plan.round_strips == 0) {
      // One strip of so many inputs is more than the ring.
      const int of_block = Share::most(of.inputs / kPieceInputs, kLayersCluster);
      EXPECT_GT(Share::most(of_block, kStagePieces), of.stages);
      return;
    }
    const int rows = kLayersTileRows << of.tiles_log;
    EXPECT_EQ(plan.strip_groups_log + plan.piece_groups_log + of.tiles_log, kLayersWarpsLog);
    EXPECT_LE(plan.owned_strips * rows * kStripColumns * (kLayersCluster << plan.piece_groups_log),
              kSumsElements);
    EXPECT_LE(plan.owned_strips * rows * kStripColumns / 2, kItemsOfThread * kLayersThreads);
    EXPECT_GE(plan.owned_strips * kLayersCluster, plan.round_strips);
    std::vector<int> times(static_cast<std::size_t>(plan.strips) *
                           static_cast<std::size_t>(plan.pieces));
    for (int cluster = 0; cluster < of.clusters; ++cluster) {
      for (int rank = 0; rank < kLayersCluster; ++rank) {
        const ProductPart part = ProductPart::of(plan, cluster, of.clusters, rank);
        ASSERT_GT(part.pieces, 0);
        ASSERT_TRUE(part.chunk_strips_log < 0 ||
                    part.pieces << part.chunk_strips_log <= kStagePieces);
        for (int first = 0; first < part.strips; first += part.round_strips) {
          const int count = std::min(part.round_strips, part.strips - first);
          ASSERT_LE(part.chunks(count), of.stages);
          count_products(part, of.tiles_log, first, count, times, plan.pieces);
        }
      }
    }
    for (const int several : times) {
      ASSERT_EQ(several, 1);
    }
  });
}

TEST(FusedLayersPlan, PairsAreShuffledWithinTheirPiece) {
  std::vector<bool> taken(64);
  for (int pair = 0; pair < 64; ++pair) {
    const int at = shuffled_pair(pair);
    EXPECT_EQ(at / 16, pair / 16);
    EXPECT_FALSE(taken.at(static_cast<std::size_t>(at)));
    taken.at(static_cast<std::size_t>(at)) = true;
  }
  // Lane 1 of the first piece takes pairs 4 … 7: the second of each matrix of four pairs a row.
  for (int matrix = 0; matrix < 4; ++matrix) {
    EXPECT_EQ(shuffled_pair(4 + matrix), 4 * matrix + 1);
  }
}

TEST(FusedLayersPlan, BlocksOfAClusterNeedAPieceEach) {
  EXPECT_TRUE(can_be_shared(128));
  EXPECT_FALSE(can_be_shared(96));
  EXPECT_FALSE(can_be_shared(400));
}

}  // namespace
}  // namespace kvcache::kernels
