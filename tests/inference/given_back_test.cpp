// What no token to come sees is given back, where all layers have one window: how much stays, and
// how far one can still rewind.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/rounding.hpp"
#include "kvcache/prefix_cache.hpp"
#include "kvcache/windowed_sequence.hpp"
#include "support/window_models.hpp"

namespace kvcache {
namespace {

using test::expect_error;
using test::expect_same_bits;
using test::extend_one_by_one;
using test::kWindow;
using test::kWindowed;
using test::load_with_window;
using test::Random;
using test::random_tokens;

using GivenBack = test::InFloat32;

TEST_F(GivenBack, IsNothingUnlessAskedFor) {
  const Model model = load_with_window(kWindowed, {});
  EXPECT_EQ(model.info().window, kWindow);
  Sequence text = model.new_sequence();
  extend_one_by_one(text, 60);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 15U);
  EXPECT_EQ(text.first_cached(), 0U);
  for (std::size_t length = 0; length <= 60; ++length) {
    EXPECT_TRUE(text.can_rewind_to(length));
  }
}

TEST_F(GivenBack, LeavesTheWindowAndWhatMayBeRewoundHoweverLongTheText) {
  test::for_random_cases(20, [](Random& random) {
    const auto block_len = static_cast<std::size_t>(random.integer(1, 9));
    const auto rewindable = static_cast<std::size_t>(random.integer(0, 12));
    const auto most_new = static_cast<std::size_t>(random.integer(1, 9));
    SCOPED_TRACE(testing::Message() << "blocks of " << block_len << ", " << rewindable
                                    << " rewindable, up to " << most_new << " new");
    const Model model = load_with_window(kWindowed, rewindable, block_len);
    const std::size_t positions = model.info().max_seq_len;
    const std::size_t kept = kWindow + rewindable;
    const std::size_t most = divide_up(kept + most_new, block_len) + 1;
    Sequence text = model.new_sequence();
    while (text.length() < positions) {
      const std::size_t count = std::min<std::size_t>(
          static_cast<std::size_t>(random.integer(1, static_cast<std::int64_t>(most_new))),
          positions - text.length());
      text.extend(random_tokens(random, model.info(), static_cast<std::int64_t>(count)));
      const std::size_t length = text.length();
      const std::size_t holes = length > kept ? (length - kept) / block_len : 0;
      const CacheStats stats = model.cache_stats();
      ASSERT_EQ(text.first_cached(), holes * block_len);
      ASSERT_EQ(stats.blocks_in_use, divide_up(length, block_len) - holes);
      ASSERT_LE(stats.blocks_in_use, most);
      ASSERT_EQ(stats.bytes_in_use(), stats.blocks_in_use * stats.block_bytes);
      ASSERT_TRUE(text.can_rewind_to(length - std::min(length, rewindable)));
      model.check_cache_invariants();
    }
    // Memory is taken in steps of an eighth of a full text.
    const std::size_t step = std::max<std::size_t>(1, positions / block_len / 8);
    const CacheStats stats = model.cache_stats();
    EXPECT_LE(stats.bytes_peak, (most + step - 1) * stats.block_bytes);
    text.reset();
    EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
  });
}

TEST_F(GivenBack, MakesRoomForMoreTexts) {
  constexpr std::size_t kBlocks = 12;
  const auto texts_of_60_tokens = [](const Model& model) {
    std::vector<Sequence> texts;
    try {
      while (texts.size() < 4) {
        Sequence text = model.new_sequence();
        extend_one_by_one(text, 60);
        texts.push_back(std::move(text));
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cache_full);
    }
    return texts.size();
  };
  EXPECT_EQ(texts_of_60_tokens(load_with_window(kWindowed, {}, 4, kBlocks)), 0U);
  EXPECT_EQ(texts_of_60_tokens(load_with_window(kWindowed, 0, 4, kBlocks)),
            4U);  // each has 3 blocks or fewer
}

TEST_F(GivenBack, LeavesAFailedCallsSequenceAsItWas) {
  const Model model = load_with_window(kWindowed, 0, 4, 6);
  Sequence text = model.new_sequence();
  const std::vector<TokenId> tokens(20, TokenId{1});
  text.extend(tokens);
  const std::size_t first = text.first_cached();
  const std::size_t blocks = model.cache_stats().blocks_in_use;
  expect_error(ErrorCode::cache_full, "budget", [&] { text.extend(tokens); });
  EXPECT_EQ(text.length(), 20U);
  EXPECT_EQ(text.first_cached(), first);
  EXPECT_EQ(model.cache_stats().blocks_in_use, blocks);
  const TokenId next = 2;
  std::vector<TokenId> all = tokens;
  all.push_back(next);
  test::expect_as_uncached(model, text.extend({&next, 1}).last(), all);
}

TEST_F(GivenBack, IsWhereOneCannotRewindToAndTheErrorSaysHowFarOneCan) {
  const Model model = load_with_window(kWindowed, 5);
  Random random(1);
  std::vector<TokenId> tokens = random_tokens(random, model.info(), 40);
  Sequence text = model.new_sequence();
  text.extend(tokens);
  ASSERT_EQ(text.first_cached(), 28U);
  for (std::size_t length = 0; length <= 41; ++length) {
    EXPECT_EQ(text.can_rewind_to(length), length == 0 || (length >= 35 && length <= 40)) << length;
  }
  expect_error(ErrorCode::invalid_argument,
               "cannot rewind to 34 tokens: keys and values of the first 28 were given back, and a "
               "token sees 7, itself included; rewind to 0 or to between 35 and 40 tokens, or load "
               "the model with more rewindable_tokens than 5",
               [&] { text.rewind(34); });
  expect_error(ErrorCode::invalid_argument, "cannot rewind to 41 tokens, the sequence has 40",
               [&] { text.rewind(41); });
  ASSERT_EQ(text.length(), 40U);

  text.rewind(35);
  tokens.resize(35);
  EXPECT_FALSE(text.can_rewind_to(34));  // once is what is promised
  const TreeEvaluation evaluation = test::expect_tree_as_uncached(model, text, tokens);
  test::expect_next_as_uncached(model, text, tokens, 4);

  text.rewind(0);
  EXPECT_EQ(text.first_cached(), 0U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 1U);  // the evaluation's
  test::expect_as_uncached(model, text.extend(tokens).last(), tokens);
}

TEST_F(GivenBack, IsSharedByForksAsBlocksAre) {
  const Model model = load_with_window(kWindowed, 2);
  Random random(2);
  const std::vector<TokenId> tokens = random_tokens(random, model.info(), 30);
  Sequence text = model.new_sequence();
  text.extend(std::span(tokens).first(12));
  Sequence early = text.fork();  // has all of its three blocks
  text.extend(std::span(tokens).subspan(12));
  ASSERT_EQ(text.first_cached(), 20U);
  EXPECT_EQ(early.first_cached(), 0U);
  Sequence late = text.fork();
  EXPECT_EQ(late.first_cached(), 20U);
  EXPECT_FALSE(late.can_rewind_to(26));
  EXPECT_EQ(model.cache_stats().blocks_in_use, 3U + 3U);
  EXPECT_EQ(model.cache_stats().blocks_shared, 3U);

  std::vector<TokenId> after_early(tokens.begin(), tokens.begin() + 2);
  early.rewind(2);
  test::expect_next_as_uncached(model, early, after_early, 7);
  std::vector<TokenId> all = tokens;
  for (int i = 0; i < 10; ++i) {
    test::expect_next_as_uncached(model, late, all, static_cast<TokenId>(i));
  }
  const TokenId next = 3;
  all.assign(tokens.begin(), tokens.end());
  all.push_back(next);
  test::expect_as_uncached(model, text.extend({&next, 1}).last(), all);
  model.check_cache_invariants();
}

TEST_F(GivenBack, IsNoPartOfAKnownPrefix) {
  const Model model = load_with_window(kWindowed, 0);
  PrefixCache known(model);
  Random random(4);
  std::vector<TokenId> tokens = random_tokens(random, model.info(), 30);
  Sequence text = model.new_sequence();
  text.extend(std::span(tokens).first(8));
  known.insert(text);
  text.extend(std::span(tokens).subspan(8));
  expect_error(ErrorCode::invalid_argument,
               "the sequence's first 20 tokens were given back, so that it is no prefix of a text; "
               "insert it while it has no more than 7 tokens, or load the model with more "
               "rewindable_tokens than 0",
               [&] { known.insert(text); });
  EXPECT_EQ(known.stats().blocks, 2U);

  Sequence same = known.acquire(tokens);  // which `text` has given back
  EXPECT_EQ(same.length(), 8U);
  EXPECT_EQ(same.first_cached(), 0U);
  test::expect_as_uncached(model, same.extend(std::span(tokens).subspan(8)).last(), tokens);
  EXPECT_EQ(same.first_cached(), 20U);
  EXPECT_EQ(known.longest_match(tokens), 8U);
}

TEST_F(GivenBack, IsNothingOfAWindowedSequencesContext) {
  for (const Sliding sliding : {Sliding::keep, Sliding::encode_anew}) {
    const WindowOptions window{.size = 16, .stride = 8, .sinks = 3, .sliding = sliding};
    const Model gives = load_with_window(kWindowed, 0);
    const Model keeps = load_with_window(kWindowed, {});
    WindowedSequence found(gives, window);
    WindowedSequence expected(keeps, window);
    Random random(5);
    for (int i = 0; i < 30; ++i) {
      const auto tokens = random_tokens(random, gives.info(), random.integer(1, 9));
      expect_same_bits(found.extend(tokens), expected.extend(tokens));
    }
    EXPECT_GT(found.slides(), 2U);
    EXPECT_EQ(found.context().fork().first_cached(), 0U);
    EXPECT_EQ(gives.cache_stats().blocks_in_use, keeps.cache_stats().blocks_in_use);
  }
}

}  // namespace
}  // namespace kvcache
