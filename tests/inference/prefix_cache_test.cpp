#include "kvcache/prefix_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_as_uncached;
using test::expect_error;
using test::Random;
using test::random_tokens;

/// Extends what is known of `text` by the rest; returns how much was known.
std::size_t compute(PrefixCache& prefixes, const Model& model, std::span<const TokenId> text) {
  Sequence sequence = prefixes.acquire(text);
  const std::size_t known = sequence.length();
  EXPECT_TRUE(std::ranges::equal(sequence.tokens(), text.first(known)));
  const Logits logits = sequence.extend(text.subspan(known));
  expect_as_uncached(model, logits.last(), text);
  prefixes.insert(sequence);
  return known;
}

/// A text that often begins like an earlier one.
std::vector<TokenId> random_text(Random& random, const Model& model,
                                 std::span<const std::vector<TokenId>> earlier) {
  std::vector<TokenId> text;
  if (!earlier.empty() && random.chance(0.8)) {
    text = random.pick(earlier);
    text.resize(
        static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(text.size()))));
  }
  const auto room = static_cast<std::int64_t>(model.info().max_seq_len - text.size());
  const auto more = random_tokens(random, model.info(), random.integer(0, std::min(room, 20L)));
  text.insert(text.end(), more.begin(), more.end());
  if (text.empty()) {
    text.push_back(1);
  }
  return text;
}

TEST(PrefixCache, WhatIsKnownGivesTheLogitsOfAPlainForward) {
  test::for_random_cases(10, [](Random& random) {
    const Model model = test::load_poisoned(random);
    std::optional<PrefixCache> prefixes(model);
    std::vector<std::vector<TokenId>> texts;
    std::uint64_t reused = 0;
    for (int step = 0; step < 40; ++step) {
      texts.push_back(random_text(random, model, texts));
      const std::size_t known = prefixes->longest_match(texts.back());
      ASSERT_EQ(compute(*prefixes, model, texts.back()), known);
      reused += known;
      model.check_cache_invariants();
    }
    const PrefixCacheStats stats = prefixes->stats();
    EXPECT_EQ(stats.hits + stats.misses, 40U);
    EXPECT_EQ(stats.tokens_reused, reused);
    EXPECT_GT(stats.hits, 0U);
    EXPECT_EQ(stats.blocks, model.cache_stats().blocks_in_use);
    EXPECT_EQ(stats.bytes, stats.blocks * model.cache_stats().block_bytes);
    prefixes.reset();
    EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
    model.check_cache_invariants();
  });
}

class PrefixCacheOfAModel : public testing::Test {
 protected:
  /// Blocks of 4 tokens.
  static Model load(std::size_t blocks) {
    ModelOptions options;
    options.block_len = 4;
    options.poison_freed_blocks = true;
    options.cache_bytes =
        blocks * 4 * Model::load(test::model_path("plain")).info().cache_bytes_per_token();
    return Model::load(test::model_path("plain"), options);
  }

  static std::vector<TokenId> text(TokenId first, std::size_t length) {
    std::vector<TokenId> tokens(length, TokenId{2});
    tokens.front() = first;
    return tokens;
  }
};

TEST_F(PrefixCacheOfAModel, AMatchMayEndInsideABlockWhichIsThenCopiedOnce) {
  const Model model = load(64);
  PrefixCache prefixes(model);
  Sequence first = model.new_sequence();
  first.extend(std::vector<TokenId>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  prefixes.insert(first);
  const std::vector<TokenId> other{1, 2, 3, 4, 5, 6, 0, 8};
  EXPECT_EQ(prefixes.longest_match(other), 6U);
  const std::uint64_t copied = model.cache_stats().bytes_copied;
  Sequence second = prefixes.acquire(other);
  EXPECT_EQ(second.length(), 6U);
  EXPECT_EQ(model.cache_stats().bytes_copied, copied);
  const Logits logits = second.extend(std::span(other).subspan(6));
  EXPECT_EQ(model.cache_stats().bytes_copied - copied, 2 * model.info().cache_bytes_per_token());
  expect_as_uncached(model, logits.last(), other);
  const TokenId next = 3;
  const Logits of_first = first.extend({&next, 1});
  expect_as_uncached(model, of_first.last(), first.tokens());
}

TEST_F(PrefixCacheOfAModel, LeavesOneTokenToExtendBy) {
  const Model model = load(64);
  PrefixCache prefixes(model);
  const std::vector<TokenId> tokens = text(1, 8);
  EXPECT_EQ(compute(prefixes, model, tokens), 0U);
  EXPECT_EQ(compute(prefixes, model, tokens), 7U);
  EXPECT_EQ(prefixes.acquire(std::span(tokens).first(1)).length(), 0U);
}

TEST_F(PrefixCacheOfAModel, KeepsWithinItsLimit) {
  const Model model = load(64);
  PrefixCache prefixes(model, {.max_bytes = 3 * model.cache_stats().block_bytes});
  for (TokenId first = 0; first < 5; ++first) {
    compute(prefixes, model, text(first, 9));
  }
  EXPECT_LE(prefixes.stats().blocks, 3U);
  EXPECT_EQ(prefixes.stats().blocks_evicted, 10U - prefixes.stats().blocks);
  EXPECT_EQ(prefixes.longest_match(text(4, 9)), 8U);
  EXPECT_EQ(prefixes.longest_match(text(0, 9)), 0U);
  prefixes.clear();
  EXPECT_EQ(prefixes.stats().blocks, 0U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
}

TEST_F(PrefixCacheOfAModel, GivesWayToSequencesThatNeedTheMemory) {
  const Model model = load(8);
  PrefixCache prefixes(model, {.max_bytes = 8 * model.cache_stats().block_bytes});
  for (TokenId first = 0; first < 4; ++first) {
    compute(prefixes, model, text(first, 8));
  }
  EXPECT_EQ(prefixes.stats().blocks, 8U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 8U);
  const Sequence held = prefixes.acquire(text(3, 9));  // both blocks of it
  Sequence large = model.new_sequence();
  EXPECT_NO_THROW(large.extend(text(7, 24)));
  EXPECT_EQ(prefixes.stats().blocks, 2U);
  EXPECT_EQ(prefixes.stats().blocks_evicted, 6U);
  Sequence one_more = model.new_sequence();
  expect_error(ErrorCode::cache_full, "8 in use, 0 free, 1 more needed",
               [&] { one_more.extend(text(1, 1)); });
  EXPECT_EQ(held.length(), 8U);
}

TEST_F(PrefixCacheOfAModel, RefusesWhatItCannotUse) {
  const Model model = load(8);
  const Model other = load(8);
  PrefixCache prefixes(model);
  expect_error(ErrorCode::invalid_argument, "of another model than the prefix cache",
               [&] { prefixes.insert(other.new_sequence()); });
  expect_error(ErrorCode::empty_input, "no tokens", [&] { (void)prefixes.acquire({}); });
  expect_error(ErrorCode::token_out_of_range, "token 0 of the input is -1",
               [&] { (void)prefixes.acquire(text(-1, 2)); });
  expect_error(ErrorCode::context_full, "tokens do not fit",
               [&] { (void)prefixes.longest_match(text(1, model.info().max_seq_len + 1)); });
  expect_error(ErrorCode::invalid_argument, "max_bytes of the prefix cache is 1, less than one",
               [&] { PrefixCache(model, {.max_bytes = 1}); });
  EXPECT_EQ(prefixes.stats().hits + prefixes.stats().misses, 0U);
}

TEST_F(PrefixCacheOfAModel, ServesThreadsThatFightForMemory) {
  const Model model = load(40);
  std::optional<PrefixCache> prefixes(model);
  std::vector<std::jthread> threads;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&, seed] {
      Random random(seed);
      std::vector<std::vector<TokenId>> texts;
      for (int step = 0; step < 40; ++step) {
        texts.push_back(random_text(random, model, texts));
        try {
          compute(*prefixes, model, texts.back());
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::cache_full) << error.what();
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(prefixes->stats().blocks, model.cache_stats().blocks_in_use);
  EXPECT_GT(prefixes->stats().blocks_evicted, 0U);
  prefixes.reset();
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
  model.check_cache_invariants();
}

}  // namespace
}  // namespace kvcache
