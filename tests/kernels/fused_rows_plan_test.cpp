// How fused_rows.cu shares out its work, without a GPU.
#include "kernels/cuda/fused_rows_plan.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::kernels {
namespace {

RowsSizes random_sizes(test::Random& random) {
  RowsSizes sizes;
  sizes.layers = static_cast<int>(random.integer(1, 8));
  sizes.heads = 2 * static_cast<int>(random.integer(1, 4));
  sizes.hidden = sizes.heads * random.pick(std::vector<int>{32, 64});
  sizes.inner = 128 * static_cast<int>(random.integer(1, 16));
  sizes.vocab_size = static_cast<int>(random.integer(1, kMostRowsVocabulary));
  sizes.max_seq_len = 1024;
  return sizes;
}

TEST(FusedRowsPlan, EachTaskHasStepsOfItsOwnInTheOrderOfTheirUse) {
  test::for_random_cases(60, [](test::Random& random) {
    const RowsSizes sizes = random_sizes(random);
    ASSERT_EQ(why_no_rows(sizes), nullptr);
    const RowsStream stream{sizes};
    for (int warp = 0; warp < kUnitWarps; ++warp) {
      std::int64_t next = stream.begin(warp);  // as a warp reads them
      const auto read = [&](int layer, RowsWeight weight) {
        const RowsProduct product = sizes.product(weight);
        for (int task = warp; task < product.tasks(); task += kUnitWarps) {
          ASSERT_EQ(stream.at(layer, weight, task), next);
          next += product.steps();
        }
      };
      for (int layer = 0; layer < sizes.layers; ++layer) {
        for (int w = 0; w < kRowsOfLayer; ++w) {
          read(layer, static_cast<RowsWeight>(w));
        }
      }
      read(sizes.layers, RowsWeight::head);
      ASSERT_EQ(next, stream.begin(warp + 1));
    }
    EXPECT_EQ(stream.steps(), stream.begin(kUnitWarps) + kStepsAhead);
  });
}

TEST(FusedRowsPlan, AProductIsWholeStepsAndCoversItsSizes) {
  test::for_random_cases(60, [](test::Random& random) {
    const RowsSizes sizes = random_sizes(random);
    for (int w = 0; w <= kRowsOfLayer; ++w) {
      const RowsProduct product = sizes.product(static_cast<RowsWeight>(w));
      EXPECT_GE(product.steps() * kStepInputs, product.inputs);
      EXPECT_EQ(product.steps() % kStepsAhead, 0);
      EXPECT_GE(product.tasks() * kTaskColumns, product.outputs);
      int tasks = 0;
      for (int warp = 0; warp < kUnitWarps; ++warp) {
        tasks += product.tasks_of(warp);
      }
      EXPECT_EQ(tasks, product.tasks());
    }
  });
}

TEST(FusedRowsPlan, PartsOfSharedMemoryLieBehindEachOther) {
  test::for_random_cases(60, [](test::Random& random) {
    const RowsSizes sizes = random_sizes(random);
    for (int tiles = 1; tiles <= kMostRowsTiles; ++tiles) {
      const RowsLayout layout = RowsLayout::of(sizes, tiles);
      const int tokens = tiles * kRowsTileTokens;
      EXPECT_GE(layout.inputs_at, 4 * tokens * layout.residual_row);
      EXPECT_GE(layout.queries_at, layout.inputs_at + 2 * tokens * sizes.hidden);
      EXPECT_GE(layout.changing_at, layout.queries_at + 2 * tokens * sizes.hidden);
      EXPECT_GE(layout.bytes, layout.changing_at + 2 * tokens * sizes.inner);
      EXPECT_GE(layout.bytes, layout.changing_at + 2 * tokens * sizes.vocab_size);
      EXPECT_EQ(layout.inputs_at % 16 + layout.queries_at % 16 + layout.changing_at % 16, 0);
      EXPECT_EQ(layout.row_vectors % 8, 0);  // swizzled() stays within a row
      EXPECT_EQ(layout.inner_row_vectors % 8, 0);
    }
  });
}

TEST(FusedRowsPlan, ASearchsModelHasRoomForWholeTrees) {
  constexpr int kShared = 222 << 10;  // of a block, what the kernel's own leaves
  const auto most_tokens = [](int hidden, int heads) {
    int tiles = kMostRowsTiles;
    while (tiles > 0 &&
           RowsLayout::of({6, hidden, 4 * hidden, heads, 128, 1024}, tiles).bytes > kShared) {
      --tiles;
    }
    return tiles * kRowsTileTokens;
  };
  EXPECT_EQ(most_tokens(64, 4), 64);
  EXPECT_EQ(most_tokens(128, 4), 64);
  EXPECT_EQ(most_tokens(256, 4), 48);
  EXPECT_EQ(most_tokens(256, 8), 48);
  EXPECT_EQ(most_tokens(512, 8), 16);
}

TEST(FusedRowsPlan, SaysWhyAModelIsNotForIt) {
  const RowsSizes fits{6, 256, 1024, 4, 128, 1024};
  const auto changed = [&](auto change) {
    RowsSizes sizes = fits;
    change(sizes);
    return std::string(why_no_rows(sizes));
  };
  EXPECT_EQ(why_no_rows(fits), nullptr);
  EXPECT_EQ(changed([](RowsSizes& sizes) { sizes.heads = 64; }),
            "its heads are not of 8, 16, 32 or 64");
  EXPECT_EQ(changed([](RowsSizes& sizes) { sizes.heads = 3; }),
            "its heads are not of 8, 16, 32 or 64");
  EXPECT_EQ(changed([](RowsSizes& sizes) { sizes.hidden = 1024, sizes.heads = 16; }),
            "its hidden size is no multiple of 32 up to 512");
  EXPECT_EQ(changed([](RowsSizes& sizes) { sizes.inner = 1000; }),
            "its inner size is no multiple of 128");
  EXPECT_EQ(changed([](RowsSizes& sizes) { sizes.vocab_size = 50'257; }),
            "its vocabulary is larger than 1,024");
}

}  // namespace
}  // namespace kvcache::kernels
