#include "cache/block_table.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "device/cpu/cpu_backend.hpp"

namespace kvcache::cache {
namespace {

constexpr PoolShape kTableShape{.num_layers = 1,
                                .num_heads = 2,
                                .head_dim = 4,
                                .block_len = 4,
                                .element_bytes = 4,
                                .max_blocks = 8};

std::vector<BlockId> ids_of(const BlockTable& table, const Growth& growth, std::size_t columns) {
  std::vector<BlockId> ids(columns);
  table.write_ids(growth, ids);
  return ids;
}

TEST(BlockTable, WritesIdsAsIfTheGrowthWereApplied) {
  device::CpuBackend cpu;
  BlockPool pool(kTableShape, 1, false, cpu);
  BlockTable table(pool);
  Growth growth = table.plan_growth(0, 5);
  const std::vector<BlockId> planned = ids_of(table, growth, 3);
  EXPECT_EQ(planned.back(), -1);
  EXPECT_TRUE(table.blocks().empty());
  table.apply(std::move(growth));
  EXPECT_EQ(ids_of(table, {}, 3), planned);
}

TEST(BlockTable, CopiesASharedLastBlockOnlyWhereItIsWritten) {
  device::CpuBackend cpu;
  BlockPool pool(kTableShape, 1, false, cpu);
  BlockTable table(pool);
  table.apply(table.plan_growth(0, 6));
  BlockTable shared = table.share();
  EXPECT_EQ(pool.stats().blocks_shared, 2U);
  EXPECT_EQ(pool.stats().bytes_shared(), 2 * kTableShape.block_bytes());
  EXPECT_EQ(pool.stats().bytes_in_use() + pool.stats().bytes_free(), pool.stats().bytes_allocated);
  EXPECT_EQ(pool.stats().bytes_copied, 0U);

  EXPECT_FALSE(shared.plan_growth(4, 1).writable_last);  // a whole block is not written to
  EXPECT_EQ(pool.stats().bytes_copied, 0U);
  shared.apply(shared.plan_growth(6, 1));
  EXPECT_EQ(pool.stats().bytes_copied, 2 * kTableShape.token_bytes());
  EXPECT_EQ(shared.blocks()[0].id(), table.blocks()[0].id());
  EXPECT_NE(shared.blocks()[1].id(), table.blocks()[1].id());

  table.apply(table.plan_growth(6, 1));  // now alone with its last block
  EXPECT_EQ(pool.stats().bytes_copied, 2 * kTableShape.token_bytes());
}

TEST(BlockTable, WholeBlocksLeaveAndTheSinksStay) {
  device::CpuBackend cpu;
  BlockPool pool(kTableShape, 1, true, cpu);
  BlockTable table(pool);
  table.apply(table.plan_growth(0, 5 * kTableShape.block_len));
  const std::vector<BlockId> before = ids_of(table, {}, 5);
  const std::size_t bytes = pool.stats().bytes_allocated;
  table.evict(1, 2);
  EXPECT_EQ(ids_of(table, {}, 5), (std::vector<BlockId>{before[0], before[3], before[4], -1, -1}));
  EXPECT_EQ(pool.stats().blocks_in_use, 3U);
  pool.check_invariants();
  table.apply(
      table.plan_growth(3 * kTableShape.block_len, 2 * kTableShape.block_len));  // the ring goes on
  EXPECT_EQ(pool.stats().blocks_in_use, 5U);
  EXPECT_EQ(pool.stats().bytes_allocated, bytes);  // on the blocks that left
}

}  // namespace
}  // namespace kvcache::cache
