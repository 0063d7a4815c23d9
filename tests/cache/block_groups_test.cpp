// Blocks whose layers are given back apart: places, references, the budget that all groups share.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/rounding.hpp"
#include "cache/block_table.hpp"
#include "cache/prefix_tree.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "device/cpu/reserved_memory.hpp"
#include "support/models.hpp"

namespace kvcache::cache {
namespace {

constexpr PoolShape kGroupsShape{.num_layers = 3,
                                 .num_heads = 2,
                                 .head_dim = 3,
                                 .block_len = 4,
                                 .element_bytes = 4,
                                 .max_blocks = 8};

/// The second layer sees all; the others are the second group.
model::LayerGroups two_groups() { return {.windows = {0, 5}, .group_of_layer = {1, 0, 1}}; }

constexpr std::size_t kLayerBytes = std::size_t{2} * 2 * 4 * 3 * 4;  // keys and values of a block

std::vector<BlockId> places_of(const BlockTable& table, std::size_t group) {
  std::vector<BlockId> places(table.blocks().size());
  table.write_ids({}, group, places);
  return places;
}

TEST(BlockGroups, HaveRoomForTheBudgetEachAndShareIt) {
  device::CpuBackend cpu;
  BlockPool pool(kGroupsShape, 1, false, cpu, two_groups());
  EXPECT_EQ(pool.block_bytes(0), kLayerBytes);
  EXPECT_EQ(pool.block_bytes(1), 2 * kLayerBytes);
  EXPECT_EQ(pool.places(0), 24U);
  EXPECT_EQ(pool.places(1), 12U);
  std::vector<Block> blocks = pool.allocate(8);
  test::expect_error(ErrorCode::cache_full, "budget of 4608 bytes is used up: 0 are free, 1 more",
                     [&] { static_cast<void>(pool.allocate(1)); });
  for (Block& block : blocks) {
    block.give_back(1);
  }
  std::vector<CacheStats> all{pool.stats()};
  EXPECT_EQ(all.back().bytes_in_use(), 8 * kLayerBytes);
  EXPECT_EQ(all.back().bytes_free(), 16 * kLayerBytes);
  EXPECT_EQ(pool.allocate(5).size(), 5U);
  // What the second group has too much is what the first one lacks.
  const std::vector<Block> of_first = pool.allocate(16, 1);
  EXPECT_EQ(of_first.size(), 16U);
  EXPECT_EQ(pool.stats().bytes_in_use(), 24 * kLayerBytes);
  EXPECT_EQ(pool.stats().bytes_allocated, 24 * kLayerBytes);
  EXPECT_EQ(pool.stats().bytes_peak, 24 * kLayerBytes);
  test::expect_error(ErrorCode::cache_full, "", [&] { static_cast<void>(pool.allocate(1, 1)); });
  pool.check_invariants();
}

TEST(BlockGroups, AreEmptyInStatisticsWhereThereIsOne) {
  device::CpuBackend cpu;
  EXPECT_TRUE(BlockPool(kGroupsShape, 1, false, cpu).stats().groups.empty());
  const BlockPool pool(kGroupsShape, 1, false, cpu, two_groups());
  const std::vector<LayerGroupStats> groups = pool.stats().groups;
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].window, 0U);
  EXPECT_EQ(groups[0].layers, 1U);
  EXPECT_EQ(groups[1].window, 5U);
  EXPECT_EQ(groups[1].layers, 2U);
}

TEST(BlockGroups, AreReservedTogetherOrNotAtAll) {
  device::CpuBackend cpu;
  BlockPool pool(kGroupsShape, 1, false, cpu, two_groups());
  for (const std::size_t too_many : {std::size_t{9}, ~std::size_t{0}}) {
    test::expect_error(ErrorCode::cache_full, "is used up", [&] { pool.reserve(too_many); });
    EXPECT_EQ(pool.stats().bytes_allocated, 0U);
  }
  pool.reserve(8);
  EXPECT_EQ(pool.stats().bytes_allocated, 24 * kLayerBytes);
  pool.reserve(3);
  EXPECT_EQ(pool.allocate(8).size(), 8U);
  pool.trim();
  EXPECT_EQ(pool.stats().bytes_allocated, 0U);
  pool.check_invariants();
}

/// Memory that ends after some pieces.
class EndingMemory : public device::ReservedMemory {
 public:
  EndingMemory(std::size_t bytes, const std::size_t& pieces_left)
      : ReservedMemory(bytes), pieces_left_(&pieces_left) {}
  void commit(std::size_t begin, std::size_t end) override {
    if (taken_ == *pieces_left_) {
      throw Error(ErrorCode::out_of_memory, "it ends here");
    }
    ReservedMemory::commit(begin, end);
    ++taken_;
  }

 private:
  const std::size_t* pieces_left_;
  std::size_t taken_ = 0;
};

class EndingBackend : public device::CpuBackend {
 public:
  std::size_t pieces = 0;
  std::unique_ptr<device::PoolMemory> reserve(std::size_t bytes) override {
    return std::make_unique<EndingMemory>(bytes, pieces);
  }
};

TEST(BlockGroups, GiveNoBlockWhereMemoryEndsInOneOfThem) {
  EndingBackend ending;
  BlockPool pool(kGroupsShape, 1, false, ending, two_groups());
  BlockTable table(pool);
  ending.pieces = 2 + 4;
  table.apply(table.plan_growth(0, 3));
  for (std::size_t pieces = 6; pieces < 12; ++pieces) {  // 2 in the first group, 4 in the second
    ending.pieces = pieces;
    test::expect_error(ErrorCode::out_of_memory, "it ends here",
                       [&] { static_cast<void>(table.plan_growth(3, 2)); });
    EXPECT_EQ(pool.stats().bytes_in_use(), 3 * kLayerBytes);
    pool.check_invariants();
    pool.trim();
  }
  ending.pieces = 1000;
  table.apply(table.plan_growth(3, 2));
  EXPECT_EQ(pool.stats().bytes_in_use(), 6 * kLayerBytes);
}

TEST(BlockGroups, AreGivenBackApartAndStayWhereTheyAre) {
  device::CpuBackend cpu;
  BlockPool pool(kGroupsShape, 1, true, cpu, two_groups());
  BlockTable table(pool);
  table.apply(table.plan_growth(0, 18));
  const std::array<std::vector<BlockId>, 2> before{places_of(table, 0), places_of(table, 1)};
  BlockTable behind = table.share();
  table.give_back(1, 11);
  EXPECT_EQ(table.first_cached(), (FirstCached{0, 8}));
  EXPECT_EQ(table.first_cached_in_all(), 8U);
  EXPECT_TRUE(table.blocks()[1].held(0));
  EXPECT_FALSE(table.blocks()[1].held(1));
  EXPECT_EQ(pool.stats().groups[1].blocks_in_use, 5U);  // the other one's
  EXPECT_EQ(pool.stats().groups[0].blocks_shared, 5U);
  EXPECT_EQ(pool.stats().groups[1].blocks_shared, 3U);
  const BlockTable holes = table.share();
  EXPECT_EQ(holes.first_cached(), table.first_cached());
  behind.shrink_to(0);
  EXPECT_EQ(pool.stats().groups[0].blocks_in_use, 5U);
  EXPECT_EQ(pool.stats().groups[1].blocks_in_use, 3U);
  pool.check_invariants();
  BlockTable other(pool);
  other.apply(other.plan_growth(0, 8));  // on what was given back
  EXPECT_EQ(pool.stats().groups[0].blocks_in_use, 7U);
  EXPECT_EQ(pool.stats().groups[1].blocks_in_use, 5U);
  EXPECT_EQ(places_of(table, 0), before[0]);
  for (std::size_t block = 2; block < 5; ++block) {
    EXPECT_EQ(places_of(table, 1)[block], before[1][block]);
  }
  table.give_back(0, 18);  // in all layers
  EXPECT_EQ(table.first_cached(), (FirstCached{16, 16}));
  EXPECT_FALSE(table.blocks()[3].held(0));
  pool.check_invariants();
}

TEST(BlockGroups, AreFilledEachFromItsFirstToken) {
  device::CpuBackend cpu;
  BlockPool pool(kGroupsShape, 1, false, cpu, {.windows = {9, 5}, .group_of_layer = {1, 0, 1}});
  BlockTable table(pool);
  table.fill({5, 13}, 18);
  EXPECT_EQ(table.first_cached(), (FirstCached{5, 13}));
  EXPECT_EQ(table.blocks().size(), 5U);
  EXPECT_EQ(pool.stats().groups[0].blocks_in_use, 4U);
  EXPECT_EQ(pool.stats().groups[1].blocks_in_use, 2U);
  for (std::size_t group = 0; group < 2; ++group) {
    for (const BlockId place : places_of(table, group)) {
      EXPECT_GE(place, 0);
      EXPECT_LT(static_cast<std::size_t>(place), pool.places(group));
    }
  }
  BlockTable other(pool);
  EXPECT_THROW(other.fill({0, 4}, std::size_t{8} * 4), Error);
  EXPECT_TRUE(other.blocks().empty());
  EXPECT_EQ(pool.stats().bytes_in_use(), 8 * kLayerBytes);
  pool.check_invariants();
}

/// What a pool's layer holds of a token, one number for all heads.
float& first_number(const BlockTable& table, std::size_t pool, std::size_t token) {
  const BlockPool& of = table.pool();
  const BlockId place = table.block_of(token).place(of.group_of_pool(pool));
  std::byte* const block =
      of.pool_data(pool) + static_cast<std::size_t>(place) * of.shape().layer_block_bytes();
  return *reinterpret_cast<float*>(block + table.offset_of(token) * of.shape().vector_bytes());
}

TEST(BlockGroups, KeepWhatIsWrittenHoweverTablesAreSharedAndGivenBack) {
  struct Text {
    BlockTable table;
    std::vector<float> tokens;
  };
  test::for_random_cases(100, [](test::Random& random) {
    device::CpuBackend cpu;
    PoolShape shape = kGroupsShape;
    shape.block_len = static_cast<std::size_t>(random.integer(1, 5));
    shape.max_blocks = 12;
    BlockPool pool(shape, static_cast<std::size_t>(random.integer(1, 3)), true, cpu,
                   {.windows = {0, 9, 4}, .group_of_layer = {2, 0, 1}});
    std::deque<Text> texts;
    texts.push_back({BlockTable(pool), {}});
    float number = 0;
    for (int step = 0; step < 60; ++step) {
      Text& text = texts[static_cast<std::size_t>(
          random.integer(0, static_cast<std::int64_t>(texts.size()) - 1))];
      const std::size_t length = text.tokens.size();
      if (random.chance(0.2) && texts.size() < 4) {
        texts.push_back({text.table.share(), text.tokens});
      } else if (random.chance(0.1)) {
        text.table.shrink_to(0);
        text.tokens.clear();
      } else {
        const auto count = static_cast<std::size_t>(random.integer(1, 7));
        const CacheStats before = pool.stats();
        try {
          text.table.apply(text.table.plan_growth(length, count));
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), ErrorCode::cache_full);
          ASSERT_EQ(pool.stats().bytes_in_use(), before.bytes_in_use());
          continue;
        }
        for (std::size_t token = length; token < length + count; ++token) {
          text.tokens.push_back(++number);
          for (std::size_t p = 0; p < shape.num_pools(); ++p) {
            first_number(text.table, p, token) = number;
          }
        }
        for (std::size_t group = 3; group-- > 1;) {
          const std::size_t needed = pool.groups().windows[group] + 2;
          if (text.tokens.size() > needed) {
            text.table.give_back(group, text.tokens.size() - needed);
          }
        }
      }
      pool.check_invariants();
      for (const Text& one : texts) {
        for (std::size_t p = 0; p < shape.num_pools(); ++p) {
          const std::size_t first = one.table.first_cached()[pool.group_of_pool(p)];
          for (std::size_t token = first; token < one.tokens.size(); ++token) {
            ASSERT_EQ(first_number(one.table, p, token), one.tokens[token]);
          }
        }
      }
      const CacheStats stats = pool.stats();
      ASSERT_LE(stats.bytes_allocated, shape.max_blocks * shape.block_bytes());
      ASSERT_EQ(stats.bytes_in_use() + stats.bytes_free(), stats.bytes_allocated);
    }
    texts.clear();
    EXPECT_EQ(pool.stats().bytes_in_use(), 0U);
    pool.trim();
    EXPECT_EQ(pool.stats().bytes_allocated, 0U);
  });
}

TEST(BlockGroups, WhatAPrefixTreeAloneHoldsInOneIsGivenBack) {
  device::CpuBackend cpu;
  BlockPool pool(kGroupsShape, 1, false, cpu, two_groups());
  PrefixTree tree(4, 100);
  BlockTable table(pool);
  table.apply(table.plan_growth(0, 16));
  const std::vector<TokenId> tokens{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  tree.insert(tokens, table.blocks());
  EXPECT_EQ(tree.evict_unshared(1), 0U);  // the table holds all of it
  table.give_back(1, 16);
  EXPECT_EQ(tree.evict_unshared(3 * kLayerBytes), 4 * kLayerBytes);
  EXPECT_EQ(tree.size(), 2U);
  EXPECT_EQ(pool.stats().groups[0].blocks_in_use, 4U);
  EXPECT_EQ(pool.stats().groups[1].blocks_in_use, 2U);
  table.shrink_to(0);
  EXPECT_EQ(tree.evict_unshared(1000 * kLayerBytes), 6 * kLayerBytes);
  EXPECT_EQ(pool.stats().bytes_in_use(), 0U);
  pool.check_invariants();
}

}  // namespace
}  // namespace kvcache::cache
