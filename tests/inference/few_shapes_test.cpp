#include "inference/few_shapes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "support/random_cases.hpp"

namespace kvcache::inference {
namespace {

using test::Random;

/// A run of trees, of which any nodes are chosen, some more than once.
RunShape random_shape(Random& random) {
  const auto rows = static_cast<std::size_t>(random.integer(1, 64));
  const std::size_t tokens = rows * static_cast<std::size_t>(random.integer(1, 12));
  return {.tokens = tokens,
          .rows = rows,
          .blocks_per_row = 64,
          .num_logits = random.chance(0.2) ? 0
                                           : static_cast<std::size_t>(random.integer(
                                                 1, 3 * static_cast<std::int64_t>(tokens))),
          .trees = random.chance(0.8)};
}

TEST(FewShapes, HaveRoomForWhatTheRunHas) {
  test::for_random_cases(2000, [](Random& random) {
    const RunShape asked = random_shape(random);
    RunShape filled = asked;
    fill_up(filled, static_cast<std::size_t>(random.chance(0.5) ? 128 : 50'000));
    EXPECT_GE(filled.tokens, asked.tokens);
    EXPECT_GE(filled.rows, asked.rows);
    EXPECT_GE(filled.logits_rows(), asked.logits_rows());
    EXPECT_EQ(filled.blocks_per_row, asked.blocks_per_row);
    EXPECT_EQ(filled.trees, asked.trees);
    EXPECT_EQ(filled.filled_up || filled == asked, true);
  });
}

TEST(FewShapes, AreFew) {
  std::set<std::tuple<std::size_t, std::size_t, std::size_t>> shapes;
  Random random(7);
  for (int i = 0; i < 5000; ++i) {
    RunShape shape{.tokens = static_cast<std::size_t>(random.integer(200, 800)),
                   .rows = static_cast<std::size_t>(random.integer(20, 64)),
                   .blocks_per_row = 64,
                   .num_logits = static_cast<std::size_t>(random.integer(20, 200)),
                   .trees = true};
    fill_up(shape, 128);
    shapes.emplace(shape.tokens, shape.rows, shape.logits_rows());
  }
  EXPECT_LE(shapes.size(), 12U);  // 6 sizes in tokens, 2 in rows
}

TEST(FewShapes, AddLittleToLargeRuns) {
  for (std::size_t tokens = 1025; tokens <= 4096; ++tokens) {
    RunShape shape{.tokens = tokens, .rows = 64, .blocks_per_row = 64, .trees = true};
    fill_up(shape, 50'000);
    EXPECT_LE(8 * (shape.tokens - tokens), tokens);
  }
}

/// What tells a shape from others, and so one recording from another.
auto key_of(const RunShape& shape) {
  return std::tuple(shape.tokens, shape.rows, shape.num_logits, shape.filled_up);
}

/// All shapes of a prompt, or of a token of each of some rows, of up to `most` tokens.
auto shapes_of_chains(std::size_t most, bool one_row) {
  std::set<decltype(key_of(RunShape{}))> shapes;
  for (std::size_t tokens = 1; tokens <= most; ++tokens) {
    RunShape shape{.tokens = tokens,
                   .rows = one_row ? 1 : tokens,
                   .blocks_per_row = 64,
                   .num_logits = one_row ? 1U : 0U};
    fill_up(shape, 50'000);
    EXPECT_GE(shape.tokens, tokens);
    EXPECT_LE(shape.tokens - tokens, std::max<std::size_t>(7, tokens / 4));
    EXPECT_EQ(shape.rows, one_row ? 1 : shape.tokens);
    EXPECT_EQ(shape.logits_rows(), one_row ? 1 : shape.tokens);
    shapes.insert(key_of(shape));
  }
  return shapes;
}

TEST(FewShapes, PromptsAndBatchesOfStepsHaveFewToo) {
  EXPECT_EQ(shapes_of_chains(4096, true).size(), 39U);  // 8, 7 in steps of 8, 4 for each doubling
  EXPECT_EQ(shapes_of_chains(64, false).size(), 15U);
}

TEST(FewShapes, ATreeThatFillsItsSizeHasTheShapeOfOthers) {
  std::set<decltype(key_of(RunShape{}))> shapes;
  for (std::size_t tokens = 65; tokens <= 128; ++tokens) {
    RunShape shape{.tokens = tokens, .rows = 1, .blocks_per_row = 64, .trees = true};
    fill_up(shape, 50'000);
    shapes.insert(key_of(shape));
  }
  EXPECT_EQ(shapes.size(), 1U);
}

TEST(FewShapes, LogitsOfAllTokensOfAPromptAreNotThoseThatFillItUp) {
  RunShape shape{.tokens = 300, .rows = 1, .blocks_per_row = 64};
  fill_up(shape, 50'000);
  EXPECT_EQ(shape.tokens, 320U);
  EXPECT_EQ(shape.num_logits, 320U);  // named one by one: the first 300 tokens', then the first's
  EXPECT_TRUE(shape.filled_up);
}

TEST(FewShapes, LeaveWhatIsFewAloneAndWhatIsVeryLarge) {
  for (const RunShape shape :
       {RunShape{.tokens = 1, .rows = 1}, RunShape{.tokens = 7, .rows = 1, .num_logits = 1},
        RunShape{.tokens = 5, .rows = 5}, RunShape{.tokens = 8, .rows = 8},
        RunShape{.tokens = 5000, .rows = 3, .trees = true}, RunShape{.tokens = 4097, .rows = 1}}) {
    RunShape filled = shape;
    fill_up(filled, 128);
    EXPECT_EQ(filled, shape);
  }
}

}  // namespace
}  // namespace kvcache::inference
