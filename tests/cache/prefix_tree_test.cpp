#include "cache/prefix_tree.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "cache/block_table.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "support/random_cases.hpp"

namespace kvcache::cache {
namespace {

using Tokens = std::vector<TokenId>;

PoolShape shape_of(std::size_t block_len, std::size_t max_blocks) {
  return {.num_layers = 1,
          .num_heads = 1,
          .head_dim = 1,
          .block_len = block_len,
          .element_bytes = 4,
          .max_blocks = max_blocks};
}

/// A sequence's blocks.
BlockTable table_of(BlockPool& pool, std::size_t tokens) {
  BlockTable table(pool);
  table.apply(table.plan_growth(0, tokens));
  return table;
}

std::size_t common_length(const Tokens& a, const Tokens& b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

Tokens random_text(test::Random& random) {
  Tokens tokens(static_cast<std::size_t>(random.integer(0, 14)));
  std::ranges::generate(tokens, [&] { return random.integer(0, 1); });
  return tokens;
}

TEST(PrefixTree, FindsTheLongestKnownPrefix) {
  test::for_random_cases(30, [](test::Random& random) {
    const auto block_len = static_cast<std::size_t>(random.integer(1, 4));
    device::CpuBackend cpu;
    BlockPool pool(shape_of(block_len, 400), 8, false, cpu);
    PrefixTree tree(block_len, 400);
    std::vector<Tokens> known;
    for (int step = 0; step < 40; ++step) {
      const Tokens text = random_text(random);
      if (random.chance(0.5)) {
        const BlockTable table = table_of(pool, text.size());
        tree.insert(text, table.blocks());
        known.emplace_back(text.begin(),
                           text.end() - static_cast<std::ptrdiff_t>(text.size() % block_len));
      }
      std::size_t longest = 0;
      for (const Tokens& one : known) {
        longest = std::max(longest, common_length(one, text));
      }
      ASSERT_EQ(tree.match(text), longest);
      const std::vector<Block> blocks = tree.share(text);
      ASSERT_EQ(blocks.size(), (longest + block_len - 1) / block_len);
    }
    EXPECT_EQ(pool.stats().blocks_in_use, tree.size());
    tree.clear();
    EXPECT_EQ(pool.stats().blocks_in_use, 0U);
    EXPECT_EQ(tree.match(random_text(random)), 0U);
    pool.check_invariants();
  });
}

TEST(PrefixTree, SharesTheBlocksThatWereInsertedFirst) {
  device::CpuBackend cpu;
  BlockPool pool(shape_of(2, 16), 1, false, cpu);
  PrefixTree tree(2, 16);
  const BlockTable first = table_of(pool, 5);
  const BlockTable second = table_of(pool, 5);
  tree.insert(Tokens{1, 2, 3, 4, 5}, first.blocks());
  tree.insert(Tokens{1, 2, 3, 4, 5}, second.blocks());
  const std::vector<Block> blocks = tree.share(Tokens{1, 2, 3, 9});
  ASSERT_EQ(blocks.size(), 2U);
  EXPECT_EQ(blocks[0].id(), first.blocks()[0].id());
  EXPECT_EQ(blocks[1].id(), first.blocks()[1].id());
  EXPECT_EQ(tree.size(), 2U);
}

TEST(PrefixTree, ForgetsTheLeastRecentlyUsedLeavesFirst) {
  device::CpuBackend cpu;
  BlockPool pool(shape_of(1, 16), 1, false, cpu);
  PrefixTree tree(1, 4);
  const auto insert = [&](const Tokens& text) {
    const BlockTable table = table_of(pool, text.size());
    tree.insert(text, table.blocks());
  };
  insert({1, 2});
  insert({1, 3});
  insert({4});
  EXPECT_EQ(tree.size(), 4U);
  (void)tree.share(Tokens{1, 2});
  insert({5});
  EXPECT_EQ(tree.match(Tokens{1, 3}), 1U);  // forgotten: 3, and not its parent
  EXPECT_EQ(tree.match(Tokens{1, 2}), 2U);
  EXPECT_EQ(tree.match(Tokens{4}), 1U);
  insert({6, 7});
  EXPECT_EQ(tree.match(Tokens{4}), 0U);
  EXPECT_EQ(tree.match(Tokens{1, 2}), 1U);  // then 2
  EXPECT_EQ(tree.match(Tokens{5}), 1U);
  EXPECT_EQ(tree.match(Tokens{6, 7}), 2U);
  EXPECT_EQ(tree.evicted(), 3U);
}

TEST(PrefixTree, KeepsAsMuchOfOneLongPrefixAsItMay) {
  device::CpuBackend cpu;
  BlockPool pool(shape_of(1, 16), 1, false, cpu);
  PrefixTree tree(1, 3);
  const Tokens text{1, 2, 3, 4, 5};
  const BlockTable table = table_of(pool, text.size());
  tree.insert(text, table.blocks());
  EXPECT_EQ(tree.match(text), 3U);
  EXPECT_EQ(tree.size(), 3U);
}

TEST(PrefixTree, GivesBackOnlyWhatNobodyElseHolds) {
  test::for_random_cases(30, [](test::Random& random) {
    device::CpuBackend cpu;
    BlockPool pool(shape_of(1, 400), 8, false, cpu);
    PrefixTree tree(1, 400);
    std::deque<std::vector<Block>> held;
    for (int step = 0; step < 30; ++step) {
      const Tokens text = random_text(random);
      const BlockTable table = table_of(pool, text.size());
      tree.insert(text, table.blocks());
      if (random.chance(0.2)) {
        held.push_back(tree.share(text));
      }
    }
    const std::size_t shared = pool.stats().blocks_shared;
    const std::size_t unshared = tree.size() - shared;
    const auto some =
        static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(unshared)));
    const std::size_t bytes = pool.shape().block_bytes();
    EXPECT_EQ(tree.evict_unshared(some * bytes), some * bytes);
    EXPECT_EQ(tree.evict_unshared(1'000 * bytes), (unshared - some) * bytes);
    EXPECT_EQ(tree.size(), shared);
    held.clear();
    EXPECT_EQ(tree.evict_unshared(1'000 * bytes), shared * bytes);
    EXPECT_EQ(pool.stats().blocks_in_use, 0U);
    pool.check_invariants();
  });
}

TEST(PrefixTree, GivesBackTheBeginningThatAHolderOfTheRestHasGivenBack) {
  device::CpuBackend cpu;
  BlockPool pool(shape_of(1, 16), 1, false, cpu);
  PrefixTree tree(1, 16);
  const Tokens text{1, 2, 3, 4, 5};
  BlockTable table = table_of(pool, text.size());
  tree.insert(text, table.blocks());
  tree.insert(Tokens{6}, table_of(pool, 1).blocks());
  table.give_back(0, 2);
  const std::size_t bytes = pool.shape().block_bytes();
  EXPECT_EQ(tree.evict_unshared(bytes), bytes);  // what nobody holds any of goes first
  EXPECT_EQ(tree.match(text), 5U);
  EXPECT_EQ(tree.evict_unshared(bytes), bytes);
  EXPECT_EQ(tree.match(text), 1U);
  EXPECT_EQ(tree.evict_unshared(bytes), bytes);
  EXPECT_EQ(tree.evict_unshared(bytes), 0U);
  EXPECT_EQ(pool.stats().blocks_in_use, 3U);
  pool.check_invariants();
}

}  // namespace
}  // namespace kvcache::cache
