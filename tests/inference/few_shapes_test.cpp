#include "inference/few_shapes.hpp"

#include <gtest/gtest.h>

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

TEST(FewShapes, LeaveStepsAndPromptsAlone) {
  for (const RunShape shape : {RunShape{.tokens = 1, .rows = 1}, RunShape{.tokens = 17, .rows = 17},
                               RunShape{.tokens = 300, .rows = 1, .num_logits = 1},
                               RunShape{.tokens = 5000, .rows = 3, .trees = true}}) {
    RunShape filled = shape;
    fill_up(filled, 128);
    EXPECT_EQ(filled, shape);
  }
}

}  // namespace
}  // namespace kvcache::inference
