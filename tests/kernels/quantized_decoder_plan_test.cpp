// How the GPU's kernel for decoders with weights of 8 and 4 bits shares them among blocks and
// warps, of random sizes.
#include "kernels/cuda/quantized_decoder_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

using test::Random;

QuantizedKind random_quantized_kind(Random& random) {
  QuantizedKind kind;
  kind.bits = random.chance(0.4) ? 8 : 4;
  kind.minimums = kind.bits == 4 && random.chance(0.5);
  kind.block_pieces = 1 << random.integer(0, 3);
  return kind;
}

QuantizedDecoderSizes random_quantized_sizes(Random& random) {
  QuantizedDecoderSizes sizes;
  sizes.layer_kind = random_quantized_kind(random);
  sizes.head_kind = random_quantized_kind(random);
  constexpr int kLargestBlock = 8 * kPieceInputs;
  sizes.layers = static_cast<int>(random.integer(1, 3));
  sizes.hidden = kLargestBlock * static_cast<int>(random.integer(1, 4));
  sizes.inner = kLargestBlock * static_cast<int>(random.integer(1, 5));
  sizes.head_dim = 64;
  sizes.kv_heads = 4;
  sizes.heads = sizes.kv_heads * static_cast<int>(random.integer(1, 4));
  sizes.vocab_size = static_cast<int>(random.integer(1, 500));
  sizes.gated = random.chance(0.7);
  return sizes;
}

/// Units follow each other as a warp uses them, and each has every piece of its strips once.
TEST(QuantizedDecoderPlan, UnitsLieInTheOrderOfTheirUse) {
  test::for_random_cases(20, [](Random& random) {
    const QuantizedDecoderSizes sizes = random_quantized_sizes(random);
    const int blocks = static_cast<int>(random.integer(1, 20));
    for (int block = 0; block < blocks; ++block) {
      for (int warp = 0; warp < kDecoderWarps; ++warp) {
        const QuantizedDecoderStream stream{sizes, block, blocks, warp};
        std::int64_t at = 0;
        const auto check_product = [&](int layer, DecoderProduct product) {
          const QuantizedKind& kind = sizes.kind(product);
          const Share strips = stream.strips(product);
          const Share slice = stream.slice(product);
          ASSERT_EQ(slice.count % kind.block_pieces, 0);
          for (int strip = 0; strip < strips.count; strip += kind.unit_strips()) {
            const int unit_strips = std::min(strips.count - strip, kind.unit_strips());
            for (int piece = 0; piece < slice.count; piece += kUnitPieces) {
              const int pieces = std::min(slice.count - piece, kUnitPieces);
              const int padded = padded_pieces(pieces);
              const std::int64_t scales =
                  at + std::int64_t{unit_strips} * padded * kind.value_bytes();
              for (int s = 0; s < unit_strips; ++s) {
                for (int p = 0; p < pieces; ++p) {
                  const auto place = stream.place(layer, product, strips.first + strip + s,
                                                  slice.first + piece + p);
                  ASSERT_EQ(place.piece, p);
                  ASSERT_EQ(place.pieces, padded);
                  ASSERT_EQ(place.values,
                            at + std::int64_t{s / 2} * 2 * padded * kind.value_bytes());
                  ASSERT_EQ(place.scales, scales + std::int64_t{s} * padded * kind.scale_bytes());
                }
              }
              const int bytes = unit_strips * padded * kind.piece_bytes();
              ASSERT_LE(bytes, kind.unit_bytes());
              ASSERT_EQ(bytes % 16, 0);
              at += bytes;
            }
          }
        };
        for (int layer = 0; layer < sizes.layers; ++layer) {
          for (int product = 0; product < kLayerProducts; ++product) {
            check_product(layer, static_cast<DecoderProduct>(product));
          }
        }
        check_product(sizes.layers, DecoderProduct::head);
        ASSERT_EQ(at, stream.bytes());
      }
    }
  });
}

TEST(QuantizedDecoderPlan, EveryStripIsOneBlocks) {
  test::for_random_cases(40, [](Random& random) {
    const QuantizedDecoderSizes sizes = random_quantized_sizes(random);
    const int blocks = static_cast<int>(random.integer(1, 140));
    for (int number = 0; number <= kLayerProducts; ++number) {
      const auto product = static_cast<DecoderProduct>(number);
      const int together = sizes.strips_together(product, blocks);
      int next = 0;
      for (int block = 0; block < blocks; ++block) {
        const Share own = QuantizedDecoderStream{sizes, block, blocks, 0}.strips(product);
        ASSERT_EQ(own.first, next);
        ASSERT_EQ(own.count % kStripsTogether, 0);
        next += own.count;
        for (int strip = own.first; strip < own.first + own.count; ++strip) {
          ASSERT_EQ(owner_of(strip / together, divide_up(sizes.strips(product), together), blocks),
                    block);
        }
      }
      ASSERT_GE(next, sizes.strips(product));
      ASSERT_LT(next - sizes.strips(product), kStripsTogether);
    }
  });
}

TEST(QuantizedDecoderPlan, AWordOfAPairOfStripsIsOnePlace) {
  for (const int bits : {4, 8}) {
    std::set<int> words;
    for (int piece = 0; piece < kUnitPieces; ++piece) {
      for (int lane = 0; lane < 32; ++lane) {
        for (int strip = 0; strip < kStripsTogether; ++strip) {
          for (int word = 0; word < bits / 4; ++word) {
            words.insert(word_of_pair(bits, piece, lane, strip, word));
          }
        }
      }
    }
    const QuantizedKind kind{.bits = bits};
    const int all = kStripsTogether * kUnitPieces * kind.value_bytes() / 4;
    EXPECT_EQ(static_cast<int>(words.size()), all);
    EXPECT_EQ(*words.begin(), 0);
    EXPECT_EQ(*words.rbegin(), all - 1);
  }
}

TEST(QuantizedDecoderPlan, InnerResultsAreHandedOverRoundedWhereThatCostsNoBlockMore) {
  QuantizedDecoderSizes sizes;
  sizes.gated = true;
  sizes.inner = 8192;  // Llama-3.2-1B's
  EXPECT_TRUE(sizes.hands_over_rounded(132));
  EXPECT_EQ(sizes.strips_together(DecoderProduct::expansion, 132), 8);
  EXPECT_EQ(sizes.strips_together(DecoderProduct::contraction, 132), kStripsTogether);
  sizes.layer_kind.block_pieces = 4;  // more than a block ends together
  EXPECT_FALSE(sizes.hands_over_rounded(132));
  sizes.layer_kind.block_pieces = 1;
  sizes.inner = 4864;  // Qwen2.5-0.5B's: a block would have 16 strips, not 10
  EXPECT_FALSE(sizes.hands_over_rounded(132));
  sizes.inner = 8192;
  sizes.gated = false;
  EXPECT_FALSE(sizes.hands_over_rounded(132));
}

/// As QuantizedDecoderStep::send_rounded() and fill_rounded() hand inner results over: each has its
/// words, none of which looks as if it were not there, and a piece's bytes come in their order.
TEST(QuantizedDecoderPlan, RoundedResultsArriveAsTheyWere) {
  test::for_random_cases(40, [](Random& random) {
    const int inner = kPieceInputs * static_cast<int>(random.integer(1, 300));
    std::vector<int> rounded(static_cast<std::size_t>(inner));
    std::ranges::generate(rounded, [&] { return static_cast<int>(random.integer(-127, 127)); });
    if (random.chance(0.2)) {
      std::ranges::fill(rounded, random.pick(std::vector<int>{-127, -1, 0, 127}));
    }
    constexpr unsigned kNotThere = 0xFFFFFFFFU;
    std::vector<unsigned> words(static_cast<std::size_t>(inner), kNotThere);
    const auto word = [&](int at) -> unsigned& { return words.at(static_cast<std::size_t>(at)); };
    const auto value = [&](int input) { return rounded[static_cast<std::size_t>(input)]; };
    for (int input = 0; input < inner; input += 4) {
      unsigned four = 0;
      for (int i = 0; i < 4; ++i) {
        four |= rounded_exchange::byte_of(value(input + i), input + i);
      }
      ASSERT_EQ(word(rounded_exchange::value_word(input)), kNotThere);  // nobody else's
      word(rounded_exchange::value_word(input)) = rounded_exchange::to_send(four);
    }
    for (int piece = 0; piece < inner / kPieceInputs; ++piece) {
      int sum = 0;
      for (int i = 0; i < kPieceInputs; ++i) {
        sum += value(piece * kPieceInputs + i);
      }
      const int at = rounded_exchange::block_word(inner, piece);
      ASSERT_EQ(at % 2, 0);
      ASSERT_EQ(word(at + 1), kNotThere);
      word(at) = 0x3F800000U;
      word(at + 1) = static_cast<unsigned>(rounded_exchange::sum_to_send(sum));
      ASSERT_EQ(rounded_exchange::received_sum(static_cast<int>(word(at + 1))), sum);
    }
    for (int input = 0; input < inner; ++input) {
      const unsigned found = word(rounded_exchange::value_word(input));
      ASSERT_NE(found, kNotThere);
      const unsigned four = rounded_exchange::received(found);
      ASSERT_EQ(static_cast<std::int8_t>(four >> 8U * (static_cast<unsigned>(input) % 4) & 0xFFU),
                value(input));
    }
    for (int piece = 0; piece < inner / kPieceInputs; ++piece) {
      ASSERT_NE(word(rounded_exchange::block_word(inner, piece) + 1), kNotThere);
      ASSERT_EQ(rounded_exchange::value_word(piece * kPieceInputs) % 4,
                0);  // read 16 bytes at once
    }
  });
}

TEST(QuantizedDecoderPlan, TheRingFitsIntoSharedMemory) {
  test::for_random_cases(40, [](Random& random) {
    const QuantizedDecoderSizes sizes = random_quantized_sizes(random);
    const int capacity = static_cast<int>(random.integer(0, 220'000));
    const DecoderShared shared = quantized_decoder_shared(sizes, capacity);
    if (shared.chunks == 0) {
      return;
    }
    EXPECT_GE(shared.chunks, 2);
    EXPECT_LE(shared.chunks, kMaxChunks);
    EXPECT_LE(shared.bytes, capacity);
    const int slot = shared.inputs_at / (shared.chunks * kDecoderWarps);
    EXPECT_EQ(slot * shared.chunks * kDecoderWarps, shared.inputs_at);
    EXPECT_GE(slot, sizes.layer_kind.unit_bytes());
    EXPECT_GE(slot, sizes.head_kind.unit_bytes());
    // Integers of the longest inputs, and a scale and a sum for each piece.
    const int inputs = std::max({sizes.hidden, sizes.inner, sizes.heads * sizes.head_dim});
    EXPECT_GE(shared.bytes - shared.inputs_at, inputs + inputs / kPieceInputs * 8);
  });
}

}  // namespace
}  // namespace kvcache::kernels
