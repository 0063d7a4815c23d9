#include "cache/block_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/rounding.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "kvcache/error.hpp"
#include "support/random_cases.hpp"

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
  table.write_ids(growth, 0, ids);
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
  table.evict(kTableShape.block_len, 2 * kTableShape.block_len, 5 * kTableShape.block_len);
  EXPECT_EQ(ids_of(table, {}, 5), (std::vector<BlockId>{before[0], before[3], before[4], -1, -1}));
  EXPECT_EQ(pool.stats().blocks_in_use, 3U);
  pool.check_invariants();
  table.apply(
      table.plan_growth(3 * kTableShape.block_len, 2 * kTableShape.block_len));  // the ring goes on
  EXPECT_EQ(pool.stats().blocks_in_use, 5U);
  EXPECT_EQ(pool.stats().bytes_allocated, bytes);  // on the blocks that left
}

/// A number that tells token `token` of what a test wrote first.
float number_of(std::size_t token) { return static_cast<float>(100 + token); }

float* vector_of(const BlockTable& table, std::size_t pool, std::size_t head, std::size_t token) {
  const PoolShape& shape = table.pool().shape();
  std::byte* const block =
      table.pool().pool_data(pool) +
      static_cast<std::size_t>(table.block_of(token).id()) * shape.layer_block_bytes();
  return reinterpret_cast<float*>(block + head * shape.head_bytes() +
                                  table.offset_of(token) * shape.vector_bytes());
}

template <typename Visit>
void for_each_vector(const BlockTable& table, std::size_t length, const Visit& visit) {
  for (std::size_t pool = 0; pool < table.pool().shape().num_pools(); ++pool) {
    for (std::size_t head = 0; head < table.pool().shape().num_heads; ++head) {
      for (std::size_t token = 0; token < length; ++token) {
        visit(vector_of(table, pool, head, token), token);
      }
    }
  }
}

TEST(BlockTable, TokensLeaveFromInsideABlock) {
  device::CpuBackend cpu;
  test::for_random_cases(200, [&](test::Random& random) {
    BlockPool pool({.num_layers = 2,
                    .num_heads = 2,
                    .head_dim = 3,
                    .block_len = static_cast<std::size_t>(random.integer(1, 5)),
                    .element_bytes = 4,
                    .max_blocks = 100},
                   1, true, cpu);
    const std::size_t block_len = pool.shape().block_len;
    const auto first = static_cast<std::size_t>(random.integer(0, 9));
    const auto count = static_cast<std::size_t>(random.integer(1, 3)) * block_len;
    const auto behind = static_cast<std::size_t>(random.integer(1, 12));
    const std::size_t length = first + count + behind;
    BlockTable table(pool);
    table.apply(table.plan_growth(0, length));
    for_each_vector(table, length, [](float* vector, std::size_t token) {
      std::fill_n(vector, 3, number_of(token));
    });
    BlockTable other = random.chance(0.5) ? table.share() : BlockTable(pool);
    const bool shared = !other.blocks().empty();

    table.evict(first, count, length);
    EXPECT_EQ(table.blocks().size(), divide_up(length - count, block_len));
    for_each_vector(table, length - count, [&](const float* vector, std::size_t token) {
      ASSERT_EQ(vector[2], number_of(token < first ? token : token + count)) << "token " << token;
    });
    for_each_vector(other, shared ? length : 0, [](const float* vector, std::size_t token) {
      ASSERT_EQ(vector[0], number_of(token)) << "of another table, token " << token;
    });
    EXPECT_LE(pool.stats().bytes_copied,
              first % block_len == 0 ? 0 : block_len * pool.shape().token_bytes());
    pool.check_invariants();
  });
}

TEST(BlockTable, WhatIsGivenBackLeavesHolesAndTheRestStays) {
  device::CpuBackend cpu;
  BlockPool pool(kTableShape, 1, true, cpu);
  BlockTable table(pool);
  table.apply(table.plan_growth(0, 18));
  const std::vector<BlockId> before = ids_of(table, {}, 5);
  table.give_back(0, 3);  // inside the first block, which stays
  EXPECT_EQ(table.first_cached_in_all(), 0U);
  EXPECT_EQ(pool.stats().blocks_in_use, 5U);
  BlockTable behind = table.share();
  table.give_back(0, 11);
  EXPECT_EQ(table.first_cached_in_all(), 8U);
  EXPECT_EQ(ids_of(table, {}, 5), before);  // which nobody looks at
  EXPECT_FALSE(table.blocks()[1].held());
  EXPECT_TRUE(table.blocks()[2].held());
  EXPECT_EQ(pool.stats().blocks_in_use, 5U);  // the other one's
  EXPECT_EQ(pool.stats().blocks_shared, 3U);
  table.give_back(0, 9);  // before what was given back already
  EXPECT_EQ(table.first_cached_in_all(), 8U);

  BlockTable holes = table.share();
  EXPECT_EQ(holes.first_cached_in_all(), 8U);
  behind.shrink_to(0);
  EXPECT_EQ(pool.stats().blocks_in_use, 3U);
  holes.shrink_to(9);
  EXPECT_EQ(holes.first_cached_in_all(), 8U);
  holes.shrink_to(0);
  EXPECT_EQ(holes.first_cached_in_all(), 0U);
  EXPECT_EQ(pool.stats().blocks_in_use, 3U);
  table.apply(table.plan_growth(18, 6));
  EXPECT_EQ(pool.stats().blocks_in_use, 4U);
  pool.check_invariants();
}

TEST(BlockTable, IsFilledFromAnyTokenOn) {
  device::CpuBackend cpu;
  BlockPool pool(kTableShape, 1, false, cpu);
  BlockTable table(pool);
  table.fill({9}, 18);
  EXPECT_EQ(table.first_cached_in_all(), 9U);
  EXPECT_EQ(table.blocks().size(), 5U);
  EXPECT_EQ(pool.stats().blocks_in_use, 3U);
  for (const BlockId id : ids_of(table, {}, 5)) {  // all of the pool
    EXPECT_GE(id, 0);
    EXPECT_LT(static_cast<std::size_t>(id), kTableShape.max_blocks);
  }
  table.give_back(0, 12);
  EXPECT_EQ(pool.stats().blocks_in_use, 2U);
  BlockTable other(pool);
  EXPECT_THROW(other.fill({1}, 8 * kTableShape.block_len), Error);
  EXPECT_TRUE(other.blocks().empty());
  EXPECT_EQ(other.first_cached_in_all(), 0U);
  EXPECT_EQ(pool.stats().blocks_in_use, 2U);
}

TEST(BlockTable, StaysAsItWasWhereNoBlockIsLeft) {
  device::CpuBackend cpu;
  BlockPool pool(kTableShape, 1, false, cpu);
  BlockTable table(pool);
  table.apply(table.plan_growth(0, kTableShape.max_blocks * kTableShape.block_len));
  const BlockTable other = table.share();  // so that the block of the first must be copied
  const std::vector<BlockId> before = ids_of(table, {}, kTableShape.max_blocks);
  EXPECT_THROW(table.evict(1, 4, kTableShape.max_blocks * kTableShape.block_len), Error);
  EXPECT_EQ(ids_of(table, {}, kTableShape.max_blocks), before);
}

}  // namespace
}  // namespace kvcache::cache
