#include "cache/block_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "device/cpu/cpu_backend.hpp"
#include "support/models.hpp"

namespace kvcache::cache {
namespace {

constexpr PoolShape kShape{.num_layers = 2,
                           .num_heads = 3,
                           .head_dim = 5,
                           .block_len = 4,
                           .element_bytes = 4,
                           .max_blocks = 10};

TEST(BlockPool, CountsBytesOfAllLayers) { EXPECT_EQ(kShape.block_bytes(), 2U * 2 * 3 * 5 * 4 * 4); }

TEST(BlockPool, CountsBytesOfScalesBehindRowsOfIntegers) {
  PoolShape shape = kShape;
  shape.element_bytes = 1;
  shape.scale_bytes = 2;
  EXPECT_EQ(shape.vector_elements(), 5U + 2);
  EXPECT_EQ(shape.block_bytes(), 2U * 2 * 3 * 4 * (5 + 2));
}

TEST(BlockPool, HandsOutEachBlockOnce) {
  device::CpuBackend cpu;
  BlockPool pool(kShape, 1, false, cpu);
  std::set<BlockId> ids;
  std::vector<Block> blocks = pool.allocate(10);
  for (const Block& block : blocks) {
    ids.insert(block.id());
  }
  EXPECT_EQ(ids.size(), 10U);
  EXPECT_EQ(*ids.begin(), 0);
  EXPECT_EQ(*ids.rbegin(), 9);
}

TEST(BlockPool, TakesMemoryInStepsAndReusesIt) {
  device::CpuBackend cpu;
  BlockPool pool(kShape, 4, false, cpu);
  EXPECT_EQ(pool.stats().bytes_allocated, 0U);
  {
    const std::vector<Block> blocks = pool.allocate(5);
    EXPECT_EQ(pool.stats().blocks_in_use, 5U);
    EXPECT_EQ(pool.stats().blocks_free, 3U);
    EXPECT_EQ(pool.stats().bytes_allocated, 8 * kShape.block_bytes());
    EXPECT_EQ(pool.stats().allocations, 1U);
  }
  EXPECT_EQ(pool.stats().blocks_in_use, 0U);
  const std::vector<Block> again = pool.allocate(8);
  EXPECT_EQ(pool.stats().allocations, 1U);
}

TEST(BlockPool, GivesAllOrNothing) {
  device::CpuBackend cpu;
  BlockPool pool(kShape, 1, false, cpu);
  const std::vector<Block> blocks = pool.allocate(7);
  test::expect_error(ErrorCode::cache_full, "7 in use, 3 free, 4 more needed",
                     [&] { (void)pool.allocate(4); });
  EXPECT_EQ(pool.stats().blocks_in_use, 7U);
  EXPECT_EQ(pool.allocate(3).size(), 3U);
}

TEST(BlockPool, NeverMovesItsMemory) {
  device::CpuBackend cpu;
  BlockPool pool(kShape, 1, false, cpu);
  std::vector<std::byte*> before;
  for (std::size_t i = 0; i < kShape.num_pools(); ++i) {
    before.push_back(pool.pool_data(i));
  }
  const std::vector<Block> blocks = pool.allocate(10);
  for (std::size_t i = 0; i < kShape.num_pools(); ++i) {
    EXPECT_EQ(pool.pool_data(i), before[i]);
    // All of it can be written to.
    std::fill_n(pool.pool_data(i), kShape.max_blocks * kShape.layer_block_bytes(), std::byte{1});
  }
}

}  // namespace
}  // namespace kvcache::cache
