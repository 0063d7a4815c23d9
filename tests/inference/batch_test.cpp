#include "kvcache/batch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_as_uncached;
using test::expect_error;
using test::Random;
using test::random_tokens;

TEST(Batch, EveryRowEqualsAPlainForward) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    const auto positions = static_cast<std::int64_t>(model.info().max_seq_len);
    std::vector<Sequence> sequences;
    std::vector<std::vector<TokenId>> tokens;
    for (std::int64_t rows = random.integer(1, 16); rows > 0; --rows) {
      if (random.chance(0.4) && !sequences.empty()) {
        sequences.push_back(sequences.front().fork());
      } else {
        sequences.push_back(model.new_sequence());
        if (const std::int64_t past = random.integer(0, positions - 10); past > 0) {
          sequences.back().extend(random_tokens(random, model.info(), past));
        }
      }
      tokens.push_back(random_tokens(random, model.info(), random.integer(1, 10)));
    }
    std::vector<Extension> batch;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      batch.push_back(
          {&sequences[i], tokens[i], random.chance(0.5) ? LogitsFor::last : LogitsFor::all});
    }
    const std::vector<Logits> logits = extend(batch);
    ASSERT_EQ(logits.size(), batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const std::span<const TokenId> text = sequences[i].tokens();
      for (std::size_t row = 0; row < logits[i].rows(); ++row) {
        expect_as_uncached(model, logits[i].row(row),
                           text.first(text.size() - logits[i].rows() + row + 1));
      }
    }
    model.check_cache_invariants();
  });
}

class BadBatch : public testing::Test {
 protected:
  void expect_refused(ErrorCode code, const std::string& part,
                      const std::vector<Extension>& batch) {
    expect_error(code, part, [&] { (void)extend(batch); });
    EXPECT_EQ(first_.length(), 3U);
    EXPECT_EQ(second_.length(), 2U);
  }

  Model model_ = Model::load(test::model_path("plain"));
  Sequence first_ = model_.new_sequence();
  Sequence second_ = model_.new_sequence();
  std::vector<TokenId> tokens_{1, 2};

  void SetUp() override {
    first_.extend(std::vector<TokenId>{1, 2, 3});
    second_.extend(tokens_);
  }
};

TEST_F(BadBatch, ChangesNoSequence) {
  expect_refused(ErrorCode::empty_input, "the batch is empty", {});
  expect_refused(ErrorCode::invalid_argument,
                 "element 1 of the batch is a sequence that occurs before; extend a fork of it",
                 {{&first_, tokens_}, {&first_, tokens_}});
  const Model other = Model::load(test::model_path("plain"));
  Sequence foreign = other.new_sequence();
  expect_refused(ErrorCode::invalid_argument,
                 "element 2 of the batch is a sequence of another model than element 0",
                 {{&first_, tokens_}, {&second_, tokens_}, {&foreign, tokens_}});
  expect_refused(ErrorCode::empty_input, "no tokens", {{&first_, tokens_}, {&second_, {}}});
  const std::vector<TokenId> too_many(model_.info().max_seq_len - 1, TokenId{1});
  expect_refused(ErrorCode::context_full, "tokens do not fit: 2 of the model's",
                 {{&first_, tokens_}, {&second_, too_many}});
  const std::vector<TokenId> outside{0, -5};
  expect_refused(ErrorCode::token_out_of_range, "token 1 of the input is -5",
                 {{&first_, tokens_}, {&second_, outside}});
}

TEST_F(BadBatch, NamesASequenceThatIsNotThere) {
  Sequence moved = model_.new_sequence();
  const Sequence taken = std::move(moved);
  const std::string part = "element 1 of the batch names no sequence, or one that was moved away";
  // NOLINTNEXTLINE(bugprone-use-after-move): what is refused
  expect_refused(ErrorCode::invalid_argument, part, {{&first_, tokens_}, {&moved, tokens_}});
  expect_refused(ErrorCode::invalid_argument, part, {{&first_, tokens_}, {nullptr, tokens_}});
  const TokenTree tree{{1}, {-1}};
  const std::vector<TreeOfPrefix> trees{{&first_, &tree}, {&moved, &tree}};
  expect_error(ErrorCode::invalid_argument, "element 1 of the batch names no tree, or no prefix",
               [&] { (void)evaluate(trees); });
}

/// Rows may hold each other's tokens, which grow in the same call.
TEST_F(BadBatch, MayHoldItsSequencesOwnTokens) {
  Sequence first = first_.fork();
  Sequence second = second_.fork();
  const std::vector<Extension> own{{&first, second.tokens()}, {&second, second.tokens()}};
  const std::vector<Logits> found = extend(own);
  const std::vector<TokenId> copied = tokens_;
  const std::vector<Extension> copies{{&first_, copied}, {&second_, copied}};
  const std::vector<Logits> expected = extend(copies);
  EXPECT_TRUE(std::ranges::equal(first.tokens(), std::vector<TokenId>{1, 2, 3, 1, 2}));
  EXPECT_TRUE(std::ranges::equal(second.tokens(), std::vector<TokenId>{1, 2, 1, 2}));
  for (std::size_t i = 0; i < found.size(); ++i) {
    test::expect_close(found[i].last(), expected[i].last());
  }
}

TEST_F(BadBatch, OutOfCacheGivesBackWhatOtherRowsTook) {
  ModelOptions options;
  options.block_len = 4;
  options.cache_bytes = std::size_t{4} * 4 * model_.info().cache_bytes_per_token();
  const Model small = Model::load(test::model_path("plain"), options);
  Sequence a = small.new_sequence();
  Sequence b = small.new_sequence();
  const std::vector<TokenId> twelve(12, TokenId{1});
  const std::vector<Extension> batch{{&a, twelve}, {&b, twelve}};
  expect_error(ErrorCode::cache_full, "3 in use, 1 free, 3 more needed",
               [&] { (void)extend(batch); });
  EXPECT_EQ(a.length() + b.length(), 0U);
  EXPECT_EQ(small.cache_stats().blocks_in_use, 0U);
  small.check_cache_invariants();
}

}  // namespace
}  // namespace kvcache
