// Logits that are not numbers: an error that says so, and everything as it was.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/nan_model.hpp"

namespace kvcache {
namespace {

constexpr std::size_t kPosition = 6;  // the first without logits
constexpr const char* kSaid = "holds NaN";

class NanLogits : public testing::Test {
 protected:
  /// Expects the error, and the same tokens and logits as before of a sequence one token short of
  /// the row of NaN.
  template <typename Call>
  void expect_refused(const Call& call) {
    for (const bool fuse_steps : {true, false}) {
      ModelOptions options;
      options.fuse_steps = fuse_steps;
      options.cache_bytes = std::size_t{1} << 21U;  // 128 blocks
      const Model model = broken_.load(options);
      Sequence sequence = model.new_sequence();
      for (const TokenId token : {1, 2, 3, 4, 5}) {  // one by one, so that a step is recorded
        sequence.extend({&token, 1});
      }
      const std::size_t blocks = model.cache_stats().blocks_in_use;
      test::expect_error(ErrorCode::logits_invalid, kSaid, [&] { call(model, sequence); });
      EXPECT_TRUE(std::ranges::equal(sequence.tokens(), std::vector<TokenId>{1, 2, 3, 4, 5}));
      EXPECT_EQ(model.cache_stats().blocks_in_use, blocks);
      const TokenId next = 6;
      const Logits found = sequence.extend({&next, 1});
      const Logits expected = model.forward_without_cache(std::vector<TokenId>{1, 2, 3, 4, 5, 6});
      test::expect_close(found.last(), expected.last());
    }
  }

  test::NanModel broken_{kPosition};
};

TEST_F(NanLogits, RefuseToExtend) {
  expect_refused([](const Model& /*model*/, Sequence& sequence) {
    sequence.extend(std::vector<TokenId>{6, 7});
  });
}

TEST_F(NanLogits, RefuseTheStepOfOneToken) {
  expect_refused([](const Model& /*model*/, Sequence& sequence) {
    Sequence fork = sequence.fork();
    fork.extend(std::vector<TokenId>{6});
    const TokenId next = 7;
    fork.extend({&next, 1});
  });
}

TEST_F(NanLogits, RefuseAWholeBatch) {
  expect_refused([](const Model& model, Sequence& sequence) {
    Sequence other = model.new_sequence();
    const std::vector<TokenId> two{6, 7};
    const std::vector<Extension> batch{{&other, two}, {&sequence, two}};
    EXPECT_THROW(extend(batch), Error);
    EXPECT_EQ(other.length(), 0U);
    extend(batch);
  });
}

/// Kernels are chosen by the number of tokens and of rows of logits: none may make a number of NaN.
constexpr std::size_t kRowsBesideIt[] = {1, 2, 4, 8, 15, 16, 31, 40, 58};

TEST_F(NanLogits, RefuseABatchOfAnySize) {
  for (const std::size_t count : kRowsBesideIt) {
    SCOPED_TRACE(count);
    expect_refused([&](const Model& model, Sequence& sequence) {
      std::vector<Sequence> others;
      for (std::size_t i = 0; i < count; ++i) {
        others.push_back(model.new_sequence());
      }
      const std::vector<TokenId> one{6};
      const std::vector<TokenId> two{6, 7};
      std::vector<Extension> batch;
      for (std::size_t i = 0; i < count; ++i) {
        batch.push_back({&others[i], one});
      }
      batch.insert(batch.begin() + static_cast<std::ptrdiff_t>(count / 2), {&sequence, two});
      extend(batch);
    });
  }
}

TEST_F(NanLogits, RefuseATreeOfAnySize) {
  for (const std::size_t count : kRowsBesideIt) {
    SCOPED_TRACE(count);
    expect_refused([&](const Model& /*model*/, Sequence& sequence) {
      TokenTree tree{std::vector<TokenId>(count, 6), std::vector<std::int32_t>(count, -1)};
      tree.tokens.push_back(7);
      tree.parents.push_back(0);
      (void)sequence.evaluate(tree);
    });
  }
}

TEST_F(NanLogits, RefuseATree) {
  expect_refused([](const Model& /*model*/, Sequence& sequence) {
    (void)sequence.evaluate({{6, 7}, {-1, 0}});
  });
}

TEST_F(NanLogits, RefuseAForwardWithoutCache) {
  expect_refused([](const Model& model, Sequence& /*sequence*/) {
    (void)model.forward_without_cache(std::vector<TokenId>{1, 2, 3, 4, 5, 6, 7});
  });
}

TEST_F(NanLogits, EndAGenerationAsIfItNeverBegan) {
  expect_refused([](const Model& /*model*/, Sequence& sequence) {
    std::size_t told = 0;
    try {
      generate(sequence, std::vector<TokenId>{6},
               {.max_new_tokens = 8, .sampling = {.temperature = 0}}, [&](const NewToken&) {
                 ++told;
                 return true;
               });
    } catch (const Error&) {
      EXPECT_EQ(told, 1U);
      throw;
    }
  });
}

TEST_F(NanLogits, LeaveAWindowAsItWas) {
  const Model model = broken_.load();
  WindowedSequence text(model, {.size = 4, .stride = 4});
  text.extend(std::vector<TokenId>{1, 2, 3, 4, 5, 6});
  const std::vector<TokenId> two{7, 8};
  test::expect_error(ErrorCode::logits_invalid, kSaid, [&] { text.extend(two); });
  EXPECT_EQ(text.length(), 6U);
  EXPECT_EQ(text.context().length(), 6U);
}

}  // namespace
}  // namespace kvcache
