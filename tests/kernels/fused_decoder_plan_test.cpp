// How the GPU's kernel for decoders shares weights among blocks and warps, of random sizes.
#include "kernels/cuda/fused_decoder_plan.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::Random;

DecoderSizes random_decoder_sizes(Random& random) {
  DecoderSizes sizes;
  sizes.layers = static_cast<int>(random.integer(1, 3));
  sizes.hidden = 32 * static_cast<int>(random.integer(1, 20));
  sizes.inner = 32 * static_cast<int>(random.integer(1, 20));
  sizes.head_dim = 64;
  sizes.kv_heads = static_cast<int>(random.integer(1, 3));
  sizes.heads = sizes.kv_heads * static_cast<int>(random.integer(1, 4));
  sizes.vocab_size = static_cast<int>(random.integer(1, 500));
  sizes.gated = random.chance(0.5);
  return sizes;
}

TEST(FusedDecoderPlan, TheOwnerOfAThingHasItInItsShare) {
  test::for_random_cases(200, [](Random& random) {
    const int all = static_cast<int>(random.integer(1, 300));
    const int several = static_cast<int>(random.integer(1, 200));
    for (int thing = 0; thing < all; ++thing) {
      const Share share = Share::of(all, owner_of(thing, all, several), several);
      ASSERT_GE(thing, share.first);
      ASSERT_LT(thing, share.first + share.count);
    }
  });
}

/// Every piece of every strip is in one stream, each stream without a gap but for its end.
TEST(FusedDecoderPlan, StreamsHoldEveryPieceOnceInTheOrderOfItsUse) {
  test::for_random_cases(40, [](Random& random) {
    const DecoderSizes sizes = random_decoder_sizes(random);
    const int blocks = static_cast<int>(random.integer(1, 20));
    for (int block = 0; block < blocks; ++block) {
      for (int warp = 0; warp < kDecoderWarps; ++warp) {
        const DecoderStream stream{sizes, block, blocks, warp};
        int next = 0;
        for (int layer = 0; layer <= sizes.layers; ++layer) {
          const int first = layer < sizes.layers ? 0 : kLayerProducts;
          const int end = layer < sizes.layers ? kLayerProducts : kLayerProducts + 1;
          for (int number = first; number < end; ++number) {
            const auto product = static_cast<DecoderProduct>(number);
            const Share strips = stream.strips(product);
            const Share slice = stream.slice(product);
            for (int strip = strips.first; strip < strips.first + strips.count; ++strip) {
              ASSERT_EQ(owner_of(strip, sizes.strips(product), blocks), block);
              for (int piece = slice.first; piece < slice.first + slice.count; ++piece) {
                ASSERT_EQ(owner_of(piece, sizes.pieces(product), kDecoderWarps), warp);
                ASSERT_EQ(stream.place(layer, product, strip, piece), next++);
              }
            }
          }
        }
        ASSERT_LE(next, stream.chunks() * kChunkPieces);
        ASSERT_GT(next + kChunkPieces, stream.chunks() * kChunkPieces);
      }
    }
  });
}

TEST(FusedDecoderPlan, ResultsOfALayerDoNotOverlap) {
  test::for_random_cases(40, [](Random& random) {
    const DecoderSizes sizes = random_decoder_sizes(random);
    const int splits = static_cast<int>(random.integer(1, kMaxSplits));
    const DecoderExchange at = DecoderExchange::of(sizes, splits, 132);
    EXPECT_EQ(at.softmaxes, sizes.outputs(DecoderProduct::qkv) / 2);
    EXPECT_GE(at.attended, at.softmaxes + 2 * sizes.heads * splits);
    EXPECT_EQ(at.after_attention,
              at.attended + splits * sizes.inputs(DecoderProduct::projection) / 2);
    EXPECT_EQ(at.expanded, at.after_attention + sizes.hidden);
    EXPECT_EQ(at.after_layer, at.expanded + sizes.inner / 2);
    EXPECT_EQ(at.layer_words, at.after_layer + sizes.hidden);
    EXPECT_GE(at.words, sizes.layers * at.layer_words + 2 * 132);
    // What is read in 16 bytes lies at multiples of them.
    for (const int place : {at.attended, at.after_attention, at.expanded, at.after_layer}) {
      EXPECT_EQ(place % 4, 0);
    }
  });
}

TEST(FusedDecoderPlan, APastHasPartsWhileBlocksAreLeft) {
  DecoderSizes sizes;
  sizes.heads = 32;
  sizes.kv_heads = 8;
  EXPECT_EQ(splits_of_past(sizes, 0, 132), 1);
  EXPECT_EQ(splits_of_past(sizes, 8 * kDecoderWarps, 132), 1);
  EXPECT_EQ(splits_of_past(sizes, 8 * kDecoderWarps + 1, 132), 2);
  EXPECT_EQ(splits_of_past(sizes, 100000, 132), kMaxSplits);
  EXPECT_EQ(splits_of_past(sizes, 100000, 40), 5);
  EXPECT_EQ(splits_of_past(sizes, 100000, 8), 1);
}

/// What LayerNorm makes of columns: those of each product behind a norm follow the ones before.
TEST(FusedDecoderPlan, PairsOfNormedColumnsFollowEachOther) {
  test::for_random_cases(40, [](Random& random) {
    const DecoderSizes sizes = random_decoder_sizes(random);
    const NormedColumns columns = NormedColumns::of(sizes);
    int next = 0;
    const auto expect_next = [&](int layer, DecoderProduct product) {
      ASSERT_TRUE(DecoderSizes::normed(product));
      ASSERT_EQ(columns.begin(layer, product), next);
      next += divide_up(sizes.outputs(product), kStripColumns) * kStripColumns / 2;
    };
    for (int layer = 0; layer < sizes.layers; ++layer) {
      expect_next(layer, DecoderProduct::qkv);
      expect_next(layer, DecoderProduct::expansion);
    }
    expect_next(sizes.layers, DecoderProduct::head);
    EXPECT_EQ(columns.count, next);
  });
}

TEST(FusedDecoderPlan, BiasesAndNormsLieBehindEachOther) {
  DecoderSizes sizes;
  sizes.hidden = 96;
  sizes.inner = 64;
  sizes.heads = 3;
  sizes.kv_heads = 1;
  sizes.head_dim = 64;
  sizes.gated = true;
  const DecoderVectors none = DecoderVectors::of(sizes, false, {false, false, false, false});
  EXPECT_EQ(none.elements, 2 * 96);
  EXPECT_EQ(none.query_norm, -1);
  EXPECT_EQ(none.biases[0], -1);
  const DecoderVectors all = DecoderVectors::of(sizes, true, {true, false, true, true});
  EXPECT_EQ(all.norms[1], 96);
  EXPECT_EQ(all.query_norm, 192);
  EXPECT_EQ(all.key_norm, 256);
  EXPECT_EQ(all.biases[0], 320);
  EXPECT_EQ(all.biases[1], -1);
  EXPECT_EQ(all.biases[2], 320 + 5 * 64);
  EXPECT_EQ(all.biases[3], 640 + 128);
  EXPECT_EQ(all.elements, 768 + 96);
}

}  // namespace
}  // namespace kvcache::kernels
