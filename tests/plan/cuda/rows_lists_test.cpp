// A run's rows shared out among clusters; no GPU is asked.
#include "plan/cuda/rows_lists.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <numeric>
#include <span>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::plan {
namespace {

constexpr std::int64_t kBlockLen = 16;
constexpr std::int64_t kBlocksPerRow = 20;

/// Chains of a few tokens each, some rows without any.
struct Chains {
  Chains(test::Random& random, std::int64_t rows, std::int64_t most_of_row) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t tokens = random.integer(row == 0 ? 1 : 0, most_of_row);
      pasts.push_back(static_cast<std::int32_t>(random.integer(0, 200)));
      offsets.push_back(static_cast<std::int32_t>(offsets.back() + tokens));
    }
    ids.resize(static_cast<std::size_t>(offsets.back()));
    std::iota(ids.begin(), ids.end(), 0);
    table.resize(static_cast<std::size_t>(rows * kBlocksPerRow));
    std::iota(table.begin(), table.end(), 1000);
  }

  [[nodiscard]] StepBinding binding() const {
    StepBinding binding;
    binding.input_ids = ids.data();
    binding.position_ids = ids.data();
    binding.block_table = table.data();
    binding.past_lengths = pasts.data();
    binding.row_offsets = offsets.data();
    binding.tokens = static_cast<std::int64_t>(ids.size());
    binding.rows = static_cast<std::int64_t>(pasts.size());
    binding.blocks_per_row = kBlocksPerRow;
    binding.num_logits = binding.tokens;
    binding.block_len = kBlockLen;
    return binding;
  }

  std::vector<std::int64_t> ids;
  std::vector<std::int32_t> pasts;
  std::vector<std::int32_t> offsets{0};
  std::vector<std::int32_t> table;
};

TEST(RowsLists, UnitsHaveAllTokensOnceAndNoMoreThanFit) {
  test::for_random_cases(200, [](test::Random& random) {
    const Chains run(random, random.integer(1, 300), random.integer(1, 48));
    RowsLists lists;
    ASSERT_TRUE(lists.make(run.binding(), 3, 66));
    std::int32_t tokens = 0;
    std::int32_t logits = 0;
    for (const kernels::RowsUnit& unit : lists.units()) {
      EXPECT_EQ(unit.first_token, tokens);
      EXPECT_EQ(unit.first_logits, logits);
      EXPECT_LE(unit.tokens, lists.tiles() * kernels::kRowsTileTokens);
      EXPECT_LE(unit.blocks, kernels::kMostUnitTable);
      tokens += unit.tokens;
      logits += unit.logits;
    }
    EXPECT_EQ(tokens, static_cast<std::int32_t>(run.ids.size()));
    EXPECT_EQ(logits, tokens);
    for (std::size_t i = 0; i < lists.tokens().size(); ++i) {
      EXPECT_EQ(lists.tokens()[i].id, run.ids[i]);
    }
  });
}

TEST(RowsLists, AreFoundWhereTheyWereWritten) {
  test::for_random_cases(50, [](test::Random& random) {
    const Chains run(random, random.integer(1, 100), random.integer(1, 20));
    RowsLists lists;
    ASSERT_TRUE(lists.make(run.binding(), 4, 66));
    std::vector<std::byte> memory(lists.bytes());
    lists.copy_to(memory.data());
    const kernels::RowsInputs inputs = lists.at(memory.data());
    const auto expect_equal = [](const auto& list, const auto* found) {
      EXPECT_EQ(std::memcmp(list.data(), found, list.size() * sizeof(list[0])), 0);
    };
    expect_equal(lists.units(), inputs.units);
    expect_equal(lists.tokens(), inputs.tokens);
    expect_equal(lists.row_tiles(), inputs.tiles);
    expect_equal(lists.logits(), inputs.logits);
    expect_equal(lists.table(), inputs.table);
    EXPECT_EQ(inputs.unit_count, static_cast<int>(lists.units().size()));
  });
}

TEST(RowsLists, TakeNoRowThatIsTooLong) {
  test::Random random(1);
  Chains run(random, 3, 10);
  run.offsets = {0, 0, 33, 33};
  run.ids.resize(33);
  RowsLists lists;
  EXPECT_FALSE(lists.make(run.binding(), 2, 66));
  EXPECT_TRUE(lists.make(run.binding(), 3, 66));
}

}  // namespace
}  // namespace kvcache::plan
