// What no token to come sees is given back in the layers where that is so, in models of which some
// layers see more than others: how much stays, and how far one can still rewind.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
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
using test::kSomeWindowed;
using test::load_with_window;
using test::Random;
using test::random_tokens;

using GivenBackInGroups = test::InFloat32;

/// Of the layers that do not see all.
const LayerGroupStats& local(const CacheStats& stats) { return stats.groups.at(1); }

TEST_F(GivenBackInGroups, IsNothingUnlessAskedFor) {
  for (const std::string name : kSomeWindowed) {
    SCOPED_TRACE(name);
    const Model model = load_with_window(name, {});
    EXPECT_EQ(model.info().window, 0U);
    Sequence text = model.new_sequence();
    extend_one_by_one(text, 60);
    const CacheStats stats = model.cache_stats();
    EXPECT_TRUE(stats.groups.empty());
    EXPECT_EQ(stats.blocks_in_use, 15U);
    EXPECT_EQ(stats.bytes_in_use(), 15 * stats.block_bytes);
    EXPECT_EQ(text.first_cached(), 0U);
    EXPECT_TRUE(text.can_rewind_to(1));
  }
}

TEST_F(GivenBackInGroups, LeavesTheWindowHoweverLongTheTextAndAllWhereAllIsSeen) {
  test::for_random_cases(10, [](Random& random) {
    const std::string name = random.pick(kSomeWindowed);
    const auto block_len = static_cast<std::size_t>(random.integer(1, 9));
    const auto rewindable = static_cast<std::size_t>(random.integer(0, 12));
    const auto most_new = static_cast<std::size_t>(random.integer(1, 9));
    SCOPED_TRACE(testing::Message() << name << ", blocks of " << block_len << ", " << rewindable
                                    << " rewindable, up to " << most_new << " new");
    const Model model = load_with_window(name, rewindable, block_len);
    const std::size_t positions = model.info().max_seq_len;
    const std::size_t window = local(model.cache_stats()).window;
    ASSERT_EQ(window, name == "qwen2-windows" ? 6U : 5U);
    const std::size_t kept = window + rewindable;
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
      ASSERT_EQ(stats.blocks_in_use, divide_up(length, block_len));
      ASSERT_EQ(stats.groups.at(0).window, 0U);
      ASSERT_EQ(stats.groups[0].blocks_in_use, stats.blocks_in_use);
      ASSERT_EQ(local(stats).blocks_in_use, divide_up(length, block_len) - holes);
      ASSERT_LE(local(stats).blocks_in_use, most);
      ASSERT_EQ(stats.bytes_in_use(),
                stats.blocks_in_use * stats.block_bytes - holes * local(stats).block_bytes);
      ASSERT_EQ(stats.groups[0].layers + local(stats).layers, model.info().num_layers);
      ASSERT_EQ(stats.groups[0].block_bytes + local(stats).block_bytes, stats.block_bytes);
      ASSERT_TRUE(text.can_rewind_to(length - std::min(length, rewindable)));
      model.check_cache_invariants();
    }
    // Memory is taken in steps of an eighth of a full text.
    const std::size_t step = std::max<std::size_t>(1, positions / block_len / 8);
    const CacheStats stats = model.cache_stats();
    EXPECT_LE(stats.bytes_peak,
              (divide_up(positions, block_len) + step) * stats.groups[0].block_bytes +
                  (most + step - 1) * local(stats).block_bytes);
    text.reset();
    EXPECT_EQ(model.cache_stats().bytes_in_use(), 0U);
  });
}

TEST_F(GivenBackInGroups, MakesRoomForMoreTexts) {
  constexpr std::size_t kBlocks = 45;  // three whole texts
  const auto texts_of_60_tokens = [](const Model& model) {
    std::vector<Sequence> texts;
    try {
      while (texts.size() < 9) {
        Sequence text = model.new_sequence();
        extend_one_by_one(text, 60);
        texts.push_back(std::move(text));
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cache_full);
    }
    const CacheStats stats = model.cache_stats();
    EXPECT_LE(stats.bytes_allocated, kBlocks * stats.block_bytes);
    model.check_cache_invariants();
    return texts.size();
  };
  EXPECT_EQ(texts_of_60_tokens(load_with_window("gemma3", {}, 4, kBlocks)), 3U);
  // One has 15 blocks in one layer and 2 in two, while it grows 3: of 3 · 45, 6 · 19 + 21 are used.
  EXPECT_EQ(texts_of_60_tokens(load_with_window("gemma3", 0, 4, kBlocks)), 7U);
}

TEST_F(GivenBackInGroups, LeavesAFailedCallsSequencesAsTheyWere) {
  for (const std::string name : kSomeWindowed) {
    SCOPED_TRACE(name);
    const Model model = load_with_window(name, 0, 4, 6);
    Sequence text = model.new_sequence();
    const std::vector<TokenId> tokens(20, TokenId{1});
    text.extend(tokens);
    Sequence other = text.fork();
    const std::size_t first = text.first_cached();
    ASSERT_EQ(first, 12U);
    const CacheStats before = model.cache_stats();
    const auto expect_as_before = [&] {
      EXPECT_EQ(text.length(), 20U);
      EXPECT_EQ(text.first_cached(), first);
      const CacheStats after = model.cache_stats();
      for (std::size_t group = 0; group < 2; ++group) {
        EXPECT_EQ(after.groups[group].blocks_in_use, before.groups[group].blocks_in_use);
        EXPECT_EQ(after.groups[group].blocks_shared, before.groups[group].blocks_shared);
      }
      model.check_cache_invariants();
    };
    expect_error(ErrorCode::cache_full, "budget", [&] { text.extend(tokens); });
    expect_as_before();
    // Room for one of the two.
    const std::array<Extension, 2> batch{
        Extension{&text, std::span(tokens).first(1), LogitsFor::last},
        Extension{&other, std::span(tokens).first(17), LogitsFor::last}};
    expect_error(ErrorCode::cache_full, "budget", [&] { kvcache::extend(batch); });
    expect_as_before();
    TokenTree tree;
    tree.tokens.assign(25, TokenId{2});
    tree.parents.assign(25, -1);
    expect_error(ErrorCode::cache_full, "budget", [&] { static_cast<void>(text.evaluate(tree)); });
    expect_as_before();
    std::vector<TokenId> all = tokens;
    all.push_back(2);
    test::expect_as_uncached(model, text.extend(std::span(all).last(1)).last(), all);
  }
}

TEST_F(GivenBackInGroups, IsWhereOneCannotRewindToAndTheErrorSaysHowFarOneCan) {
  const Model model = load_with_window("gemma3", 5);
  Random random(1);
  std::vector<TokenId> tokens = random_tokens(random, model.info(), 40);
  Sequence text = model.new_sequence();
  text.extend(tokens);
  ASSERT_EQ(text.first_cached(), 28U);
  for (std::size_t length = 0; length <= 41; ++length) {
    EXPECT_EQ(text.can_rewind_to(length), length == 0 || (length >= 33 && length <= 40)) << length;
  }
  expect_error(ErrorCode::invalid_argument,
               "cannot rewind to 32 tokens: keys and values of the first 28 were given back in "
               "some layers, and a token sees 5 there, itself included; rewind to 0 or to between "
               "33 and 40 tokens, or load the model with more rewindable_tokens than 5",
               [&] { text.rewind(32); });
  ASSERT_EQ(text.length(), 40U);

  text.rewind(33);
  tokens.resize(33);
  const TreeEvaluation evaluation = test::expect_tree_as_uncached(model, text, tokens);
  test::expect_next_as_uncached(model, text, tokens, 4);

  text.rewind(0);
  EXPECT_EQ(text.first_cached(), 0U);
  EXPECT_EQ(model.cache_stats().bytes_in_use(), model.cache_stats().block_bytes);  // the tree's
  test::expect_as_uncached(model, text.extend(tokens).last(), tokens);
}

TEST_F(GivenBackInGroups, IsSharedByForksAsBlocksAre) {
  const Model model = load_with_window("qwen2-windows", 2);
  Random random(2);
  const std::vector<TokenId> tokens = random_tokens(random, model.info(), 30);
  Sequence text = model.new_sequence();
  text.extend(std::span(tokens).first(8));
  Sequence early = text.fork();  // has both of its blocks
  text.extend(std::span(tokens).subspan(8));
  ASSERT_EQ(text.first_cached(), 20U);
  EXPECT_EQ(early.first_cached(), 0U);
  Sequence late = text.fork();
  EXPECT_EQ(late.first_cached(), 20U);
  EXPECT_EQ(model.cache_stats().groups[0].blocks_in_use, 8U);  // two of them all three have
  EXPECT_EQ(model.cache_stats().groups[0].blocks_shared, 8U);
  EXPECT_EQ(local(model.cache_stats()).blocks_in_use, 2U + 3U);
  EXPECT_EQ(local(model.cache_stats()).blocks_shared, 3U);

  std::vector<TokenId> after_early(tokens.begin(), tokens.begin() + 2);
  early.rewind(2);
  test::expect_next_as_uncached(model, early, after_early, 7);
  std::vector<TokenId> all = tokens;
  for (int i = 0; i < 10; ++i) {
    test::expect_next_as_uncached(model, late, all, static_cast<TokenId>(i));
  }
  all.assign(tokens.begin(), tokens.end());
  all.push_back(3);
  test::expect_as_uncached(model, text.extend(std::span(all).last(1)).last(), all);
  model.check_cache_invariants();
}

TEST_F(GivenBackInGroups, IsNoPartOfAKnownPrefixButStaysKnown) {
  const Model model = load_with_window("gemma2", 0);
  PrefixCache known(model);
  Random random(4);
  const std::vector<TokenId> tokens = random_tokens(random, model.info(), 30);
  Sequence text = model.new_sequence();
  text.extend(std::span(tokens).first(8));
  known.insert(text);
  text.extend(std::span(tokens).subspan(8));
  expect_error(ErrorCode::invalid_argument,
               "the sequence's first 24 tokens were given back, so that it is no prefix of a text; "
               "insert it while it has no more than 5 tokens, or load the model with more "
               "rewindable_tokens than 0",
               [&] { known.insert(text); });
  EXPECT_EQ(known.stats().blocks, 2U);
  EXPECT_EQ(local(model.cache_stats()).blocks_in_use, 2U + 2U);
  Sequence same = known.acquire(tokens);
  EXPECT_EQ(same.length(), 8U);
  EXPECT_EQ(same.first_cached(), 0U);
  test::expect_as_uncached(model, same.extend(std::span(tokens).subspan(8)).last(), tokens);
}

TEST_F(GivenBackInGroups, WhatOnlyAPrefixCacheHoldsMakesNoOtherCallFail) {
  // Three layers have room for 30 blocks in all. The text comes to 11 in one of them and 8 in two;
  // with the 6 that are known it would be 11 in each.
  const Model model = load_with_window("gemma3", 20, 4, 10);
  PrefixCache known(model, {.max_bytes = 6 * model.cache_stats().block_bytes});
  Random random(5);
  const std::vector<TokenId> tokens = random_tokens(random, model.info(), 44);
  Sequence text = model.new_sequence();
  text.extend(std::span(tokens).first(24));
  known.insert(text);
  ASSERT_EQ(known.stats().blocks, 6U);
  while (text.length() < tokens.size()) {
    const Logits logits = text.extend(std::span(tokens).subspan(text.length(), 1));
    test::expect_as_uncached(model, logits.last(), std::span(tokens).first(text.length()));
  }
  EXPECT_EQ(model.cache_stats().blocks_in_use, 11U);
  EXPECT_GT(known.stats().blocks_evicted, 0U);
  EXPECT_GT(known.stats().blocks, 0U);  // no more of it than what was needed
  model.check_cache_invariants();
}

TEST_F(GivenBackInGroups, IsNothingOfAWindowedSequencesContext) {
  for (const Sliding sliding : {Sliding::keep, Sliding::encode_anew}) {
    const WindowOptions window{.size = 16, .stride = 8, .sinks = 3, .sliding = sliding};
    const Model gives = load_with_window("gemma3", 0);
    const Model keeps = load_with_window("gemma3", {});
    WindowedSequence found(gives, window);
    WindowedSequence expected(keeps, window);
    Random random(5);
    for (int i = 0; i < 30; ++i) {
      const auto tokens = random_tokens(random, gives.info(), random.integer(1, 9));
      expect_same_bits(found.extend(tokens), expected.extend(tokens));
    }
    EXPECT_GT(found.slides(), 2U);
    EXPECT_EQ(found.context().fork().first_cached(), 0U);
    EXPECT_EQ(gives.cache_stats().bytes_in_use(), keeps.cache_stats().bytes_in_use());
  }
}

TEST_F(GivenBackInGroups, StepsAreCapturedAsEver) {
  for (const std::string name : kSomeWindowed) {
    SCOPED_TRACE(name);
    std::string messages;  // one thread writes them
    ModelOptions options;
    options.rewindable_tokens = 0;
    options.block_len = 4;
    options.log = [&](std::string_view message) { messages.append(message).append("\n"); };
    const Model model = Model::load(test::family_model_path(name), options);
    Sequence text = model.new_sequence();
    extend_one_by_one(text, 60);
    EXPECT_GT(text.first_cached(), 0U);
    EXPECT_EQ(messages.find("node by node"), std::string::npos) << messages;
    EXPECT_EQ(messages.find("could not be captured"), std::string::npos) << messages;
  }
}

}  // namespace
}  // namespace kvcache
