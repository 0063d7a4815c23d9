// Every bound of a run's inputs, whoever computes the run.
#include "inference/run_inputs.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "support/models.hpp"

namespace kvcache::inference {
namespace {

/// Two rows over a pool of 6 blocks of 4: one token after 3, and a tree of two after 5.
struct Values {
  std::vector<std::int64_t> input_ids{9, 0, 4};
  std::vector<std::int64_t> position_ids{3, 5, 15};
  std::vector<std::int64_t> logits_positions{0, 2};
  std::vector<std::int32_t> block_table{5, -1, -1, -1, 0, 1, 2, -1};
  std::vector<std::int32_t> past_lengths{3, 5};
  std::vector<std::int32_t> append_positions{3, 8};
  std::vector<std::int32_t> row_offsets{0, 1, 3};
  std::vector<std::int32_t> tree_parents{-1, -1, 0};
  std::size_t tokens_of_rows = 3;
  bool filled_up = false;
  std::size_t groups = 1;

  void check() {
    check_inputs({input_ids, position_ids, logits_positions, block_table, past_lengths,
                  append_positions, row_offsets, tree_parents, tokens_of_rows},
                 {.tokens = input_ids.size(),
                  .rows = past_lengths.size(),
                  .groups = groups,
                  .blocks_per_row = 4,
                  .num_logits = 2,
                  .trees = true,
                  .filled_up = filled_up},
                 {.vocab_size = 10, .max_seq_len = 16, .blocks = {6, 3}, .block_len = 4});
  }
};

TEST(RunInputs, TakesWhatLiesInsideTheTables) { EXPECT_NO_THROW(Values().check()); }

/// The same with a third row that has no tokens, and two tokens of no row.
Values filled_up() {
  Values values;
  values.filled_up = true;
  values.input_ids.resize(5);
  values.position_ids.resize(5);
  values.block_table.resize(12);
  values.past_lengths.resize(3);
  values.append_positions.resize(3);
  values.row_offsets.push_back(3);
  values.tree_parents.resize(5, -1);
  return values;
}

TEST(RunInputs, ARunMayBeFilledUp) {
  EXPECT_NO_THROW(filled_up().check());
  const auto expect_refused = [](const std::string& what,
                                 const std::function<void(Values&)>& change) {
    Values values = filled_up();
    change(values);
    test::expect_error(ErrorCode::run_failed, what, [&] { values.check(); });
  };
  expect_refused("row_offsets[3] of a run is 3, must be in [5, 6)",
                 [](Values& values) { values.filled_up = false; });
  expect_refused("row_offsets[3] of a run is 4, must be in [3, 4)",
                 [](Values& values) { values.row_offsets[3] = 4; });
  expect_refused("input_ids[4] of a run is -1", [](Values& values) { values.input_ids[4] = -1; });
}

TEST(RunInputs, RefusesEachValueThatDoesNot) {
  const auto expect_refused = [](const std::string& what,
                                 const std::function<void(Values&)>& change) {
    Values values;
    change(values);
    test::expect_error(ErrorCode::run_failed, what, [&] { values.check(); });
  };
  expect_refused("input_ids[0] of a run is 10, must be in [0, 10)",
                 [](Values& values) { values.input_ids[0] = 10; });
  expect_refused("input_ids[2] of a run is -1", [](Values& values) { values.input_ids[2] = -1; });
  expect_refused("position_ids[2] of a run is 16, must be in [0, 16)",
                 [](Values& values) { values.position_ids[2] = 16; });
  expect_refused("logits_positions[1] of a run is 3, must be in [0, 3)",
                 [](Values& values) { values.logits_positions[1] = 3; });
  expect_refused("block_table[0] of a run is -1, must be in [0, 6)",
                 [](Values& values) { values.block_table[0] = -1; });
  expect_refused("block_table[6] of a run is 6", [](Values& values) { values.block_table[6] = 6; });
  expect_refused("past_lengths[0] of a run is -1",
                 [](Values& values) { values.past_lengths[0] = -1; });
  expect_refused("past_lengths[0] of a run is 17",
                 [](Values& values) { values.past_lengths[0] = 17; });
  expect_refused("append_positions[1] of a run is 4, must be in [5,",
                 [](Values& values) { values.append_positions[1] = 4; });
  expect_refused("past_lengths[1] of a run is 5, must be in [0, 15)",
                 [](Values& values) { values.append_positions[1] = 15; });
  expect_refused("row_offsets[0] of a run is 1", [](Values& values) { values.row_offsets[0] = 1; });
  expect_refused("row_offsets[1] of a run is 4", [](Values& values) { values.row_offsets[1] = 4; });
  expect_refused("row_offsets[2] of a run is 2", [](Values& values) { values.row_offsets[2] = 2; });
  expect_refused("tree_parents[2] of a run is 1, must be in [-1, 1)",
                 [](Values& values) { values.tree_parents[2] = 1; });
  expect_refused("tree_parents[0] of a run is -2",
                 [](Values& values) { values.tree_parents[0] = -2; });
}

TEST(RunInputs, EachGroupOfLayersHasRowsOfItsOwn) {
  Values values;
  values.groups = 2;  // the second has 3 blocks
  values.block_table = {5, -1, -1, -1, 0, 1, 2, -1, 2, -1, -1, -1, 1, 0, 2, -1};
  EXPECT_NO_THROW(values.check());
  for (const std::int32_t wrong : {3, -1}) {
    Values changed = values;
    changed.block_table[14] = wrong;
    test::expect_error(
        ErrorCode::run_failed,
        "block_table[14] of a run is " + std::to_string(wrong) + ", must be in [0, 3)",
        [&] { changed.check(); });
  }
  values.block_table[4] = 6;
  test::expect_error(ErrorCode::run_failed, "block_table[4] of a run is 6, must be in [0, 6)",
                     [&] { values.check(); });
}

}  // namespace
}  // namespace kvcache::inference
