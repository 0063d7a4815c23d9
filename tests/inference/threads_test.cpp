// One model, many threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "support/history.hpp"

namespace kvcache {
namespace {

using test::Random;

/// How long random histories run side by side; scripts/test --full asks for ten minutes.
std::chrono::seconds history_seconds() {
  return std::chrono::seconds(test::environment_or("KVCACHE_TEST_SECONDS", 2));
}

TEST(Threads, HistoriesSideBySideEqualPlainForwards) {
  const auto end = std::chrono::steady_clock::now() + history_seconds();
  std::uint64_t seed = test::environment_or("KVCACHE_TEST_SEED", 1);
  std::atomic<int> steps{0};
  while (std::chrono::steady_clock::now() < end && !testing::Test::HasFailure()) {
    SCOPED_TRACE("repeat with KVCACHE_TEST_SEED=" + std::to_string(seed));
    Random random(seed++);
    const Model model = test::load_poisoned(random);
    std::vector<std::jthread> threads;
    for (const std::int64_t own_seed : {random.integer(0, 1 << 30), random.integer(0, 1 << 30)}) {
      threads.emplace_back([&model, &steps, own_seed, end] {
        Random own(static_cast<std::uint64_t>(own_seed));
        test::History history(own, model, false);
        for (int i = 0; i < 100 && std::chrono::steady_clock::now() < end; ++i) {
          history.step();
          history.check();
          ++steps;
        }
      });
    }
    threads.clear();
    EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
    model.check_cache_invariants();
  }
  EXPECT_GT(steps, 0);
}

/// Forks cross threads, and so do the last references to blocks.
TEST(Threads, ForksOutliveTheirParentInOtherThreads) {
  Random random(3);
  const Model model = test::load_poisoned(random);
  for (int round = 0; round < 20; ++round) {
    Sequence parent = model.new_sequence();
    parent.extend(test::random_tokens(random, model.info(), 19));
    std::vector<std::jthread> threads;
    for (TokenId next = 0; next < 3; ++next) {
      threads.emplace_back([&model, next, fork = parent.fork()]() mutable {
        const Logits logits = fork.extend({&next, 1});
        test::expect_as_uncached(model, logits.last(), fork.tokens());
      });
    }
    parent.reset();
  }
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
  model.check_cache_invariants();
}

/// The first look at a row may convert it; and the last result to go gives their memory back.
TEST(Threads, ReadTheResultsOfOneBatchAtTheSameTime) {
  Random random(7);
  const Model model = test::load_poisoned(random);
  std::vector<Sequence> sequences;
  std::vector<std::vector<TokenId>> tokens;
  for (int i = 0; i < 4; ++i) {
    sequences.push_back(model.new_sequence());
    tokens.push_back(test::random_tokens(random, model.info(), 3));
  }
  for (int round = 0; round < 20; ++round) {
    std::vector<Extension> batch;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      batch.push_back({&sequences[i], tokens[i], LogitsFor::all});
    }
    std::vector<Logits> results = extend(batch);
    const Logits shared = results.front();
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < results.size(); ++i) {
      threads.emplace_back([&shared, own = std::move(results[i])] {
        for (std::size_t row = 0; row < own.rows(); ++row) {
          for (const Logits& logits : {std::cref(own), std::cref(shared)}) {
            const std::span<const float> values = logits.row(row);
            const TokenId best = logits.argmax(row);
            EXPECT_EQ(values[static_cast<std::size_t>(best)], std::ranges::max(values));
            EXPECT_EQ(logits.top_k(1, row).front().token, best);
          }
        }
      });
    }
    threads.clear();
    for (Sequence& sequence : sequences) {
      sequence.reset();
    }
  }
}

TEST(Threads, ASmallBudgetRefusesSomeAndLosesNothing) {
  ModelOptions options;
  options.block_len = 4;
  options.poison_freed_blocks = true;
  options.cache_bytes =
      std::size_t{10} * 4 * Model::load(test::model_path("plain")).info().cache_bytes_per_token();
  const Model model = Model::load(test::model_path("plain"), options);
  std::atomic<int> refused{0};
  std::vector<std::jthread> threads;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      Random random(seed);
      Sequence sequence = model.new_sequence();
      for (int step = 0; step < 60; ++step) {
        const auto tokens = test::random_tokens(random, model.info(), random.integer(1, 6));
        const std::size_t length = sequence.length();
        try {
          const Logits logits = sequence.extend(tokens);
          test::expect_as_uncached(model, logits.last(), sequence.tokens());
        } catch (const Error& error) {
          EXPECT_TRUE(error.code() == ErrorCode::cache_full ||
                      error.code() == ErrorCode::context_full)
              << error.what();
          EXPECT_EQ(sequence.length(), length);
          sequence.reset();
          ++refused;
        }
      }
    });
  }
  threads.clear();
  EXPECT_GT(refused, 0);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
  model.check_cache_invariants();
}

/// Counted in tokens, as time says nothing on a machine that does other things too: each thread
/// decodes until all have decoded some, and none may have to wait for 200 times as many.
TEST(Threads, NoneIsLeftBehind) {
  const Model model = Model::load(test::model_path("plain"));
  constexpr int kDecoding = 4;
  constexpr std::int64_t kTokens = 50;
  constexpr std::int64_t kTooMany = 200 * kTokens;
  std::atomic<int> arrived{0};  // threads that have decoded kTokens
  std::atomic<bool> left_behind{false};
  std::vector<std::jthread> threads;
  threads.reserve(kDecoding);
  for (int thread = 0; thread < kDecoding; ++thread) {
    threads.emplace_back([&] {
      Sequence sequence = model.new_sequence();
      TokenId next = 1;
      for (std::int64_t count = 0; count < kTokens || arrived < kDecoding;) {
        if (!sequence.fits(1)) {
          sequence.reset();
        }
        next = sequence.extend({&next, 1}).argmax();
        if (++count == kTokens) {
          ++arrived;
        }
        if (count == kTooMany) {
          left_behind = true;
          return;
        }
      }
    });
  }
  threads.clear();
  EXPECT_FALSE(left_behind) << "a thread decoded " << kTooMany << " tokens, another one not even "
                            << kTokens;
}

}  // namespace
}  // namespace kvcache
