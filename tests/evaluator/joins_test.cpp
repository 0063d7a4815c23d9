// Identical requests are computed once; answers are kept under their caller's key.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "evaluator/held_evaluator.hpp"

namespace kvcache {
namespace {

using test::error_of;
using test::expect_as_uncached;
using test::HeldEvaluator;
using test::share_text;

class EvaluatorJoins : public testing::Test {
 protected:
  Model model_ = Model::load(test::model_path("plain"));
  std::shared_ptr<Sequence> sequence_ = share_text(model_, {1, 2});
  std::shared_ptr<Sequence> same_text_ = share_text(model_, {1, 2});
  std::shared_ptr<Sequence> other_text_ = share_text(model_, {1, 3});
  TokenTree tree_{{3, 4}, {-1, 0}};

  static bool same_bits(const EvaluatedNodes& a, const EvaluatedNodes& b) {
    for (std::size_t row = 0; row < a.rows(); ++row) {
      if (!std::ranges::equal(a.row(row), b.row(row))) {
        return false;
      }
    }
    return a.rows() == b.rows();
  }
};

TEST_F(EvaluatorJoins, EqualQuestionsAreComputedOnce) {
  HeldEvaluator evaluator(model_);
  const auto first = evaluator->submit(EvaluateRequest{sequence_, tree_});
  const auto again = evaluator->submit(EvaluateRequest{same_text_, tree_});
  const auto other_prefix = evaluator->submit(EvaluateRequest{other_text_, tree_});
  const auto other_tree = evaluator->submit(EvaluateRequest{sequence_, {{3, 4}, {-1, -1}}});
  const auto other_nodes = evaluator->submit(EvaluateRequest{sequence_, tree_, {1}});
  const auto score = evaluator->submit(ScoreRequest{sequence_, {{3, 4}}});
  const auto same_score = evaluator->submit(ScoreRequest{same_text_, {{3, 4}}});
  const auto split_score = evaluator->submit(ScoreRequest{same_text_, {{3}, {4}}});
  const auto alone = evaluator->submit(EvaluateRequest{sequence_, tree_, {}, {.join = false}});
  evaluator.release();
  EXPECT_EQ(first.get().by, AnsweredBy::run);
  EXPECT_EQ(again.get().by, AnsweredBy::joined);
  EXPECT_TRUE(same_bits(first.get().result, again.get().result));
  EXPECT_EQ(first.get().result.tree(), again.get().result.tree());
  for (const auto& computed : {other_prefix, other_tree, other_nodes, alone}) {
    EXPECT_EQ(computed.get().by, AnsweredBy::run);
  }
  EXPECT_EQ(same_score.get().by, AnsweredBy::joined);
  EXPECT_EQ(score.get().result.total(0), same_score.get().result.total(0));
  EXPECT_EQ(split_score.get().by, AnsweredBy::run);
  EXPECT_EQ(evaluator->metrics().joined, 2U);
  EXPECT_EQ(evaluator->metrics().rows_per_run.sum, 7);
  // Whoever joined may commit it to a sequence of its own.
  same_text_->commit(*again.get().result.tree(), 1);
  sequence_->commit(*first.get().result.tree(), 0);
  expect_as_uncached(model_, same_text_->extend(std::vector<TokenId>{5}).last(),
                     std::vector<TokenId>{1, 2, 3, 4, 5});
}

/// One that others follow may go: the first of them takes its place, with the priority of all.
TEST_F(EvaluatorJoins, EqualTokensAfterOtherOnesThatLeftAreAnotherQuestion) {
  ModelOptions options;
  options.block_len = 4;
  const Model model = Model::load(test::family_model_path("llama"), options);
  const WindowOptions window{.size = 8, .stride = 4, .sliding = Sliding::keep};
  WindowedSequence text(model, window);
  text.extend(std::vector<TokenId>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13});
  WindowedSequence other(model, window);
  other.extend(std::vector<TokenId>{4, 3, 2, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13});
  ASSERT_TRUE(std::ranges::equal(text.context().tokens(), other.context().tokens()));
  HeldEvaluator evaluator(model);
  const auto first = evaluator->submit(EvaluateRequest{borrow(text.context()), tree_});
  const auto of_fork =
      evaluator->submit(EvaluateRequest{test::share(text.context().fork()), tree_});
  const auto of_other = evaluator->submit(EvaluateRequest{borrow(other.context()), tree_});
  evaluator.release();
  EXPECT_EQ(first.get().by, AnsweredBy::run);
  EXPECT_EQ(of_fork.get().by, AnsweredBy::joined);
  EXPECT_EQ(of_other.get().by, AnsweredBy::run);
  const TreeEvaluation expected = other.context().evaluate(tree_);
  test::expect_same(model, of_other.get().result.row(1), expected.logits().row(1));
  EXPECT_FALSE(same_bits(first.get().result, of_other.get().result));
}

TEST_F(EvaluatorJoins, ACancelledOneLeavesItsPlaceToTheNext) {
  HeldEvaluator evaluator(model_);
  std::vector<Request<EvaluatedNodes>> requests;
  requests.reserve(6);
  for (int i = 0; i < 5; ++i) {
    requests.push_back(evaluator->submit(EvaluateRequest{sequence_, tree_}));
  }
  EXPECT_TRUE(requests[0].cancel());  // the one to be computed
  EXPECT_TRUE(requests[3].cancel());  // one that follows
  EXPECT_TRUE(requests[1].cancel());  // the one to be computed now
  requests.push_back(evaluator->submit(EvaluateRequest{same_text_, tree_}));
  evaluator.release();
  for (const int i : {0, 1, 3}) {
    EXPECT_EQ(error_of(requests[static_cast<std::size_t>(i)]), ErrorCode::cancelled);
  }
  EXPECT_EQ(requests[2].get().by, AnsweredBy::run);
  EXPECT_EQ(requests[4].get().by, AnsweredBy::joined);
  EXPECT_EQ(requests[5].get().by, AnsweredBy::joined);
  EXPECT_EQ(evaluator->metrics().rows_per_run.sum, 1);
}

TEST_F(EvaluatorJoins, AnExpiredOneDoesNotTakeOthersAlong) {
  HeldEvaluator evaluator(model_);
  const RequestOptions soon{.deadline =
                                std::chrono::steady_clock::now() + std::chrono::milliseconds(20)};
  const auto first = evaluator->submit(EvaluateRequest{sequence_, tree_, {}, soon});
  const auto second = evaluator->submit(EvaluateRequest{sequence_, tree_});
  EXPECT_EQ(error_of(first), ErrorCode::deadline_exceeded);
  evaluator.release();
  EXPECT_EQ(second.get().by, AnsweredBy::run);
}

TEST_F(EvaluatorJoins, EqualQuestionsFailEqually) {
  HeldEvaluator evaluator(model_);
  const auto first = evaluator->submit(EvaluateRequest{sequence_, {{-1}, {-1}}});
  const auto second = evaluator->submit(EvaluateRequest{sequence_, {{-1}, {-1}}});
  evaluator.release();
  EXPECT_EQ(error_of(first), ErrorCode::token_out_of_range);
  EXPECT_EQ(error_of(second), ErrorCode::token_out_of_range);
  EXPECT_EQ(evaluator->metrics().failed, 2U);
}

TEST_F(EvaluatorJoins, KeptAnswersAreReturnedWithoutARun) {
  Evaluator evaluator(model_);
  const RequestOptions key{.cache_key = 42};
  const auto first = evaluator.answer(EvaluateRequest{sequence_, tree_, {}, key});
  EXPECT_EQ(first.by, AnsweredBy::run);
  EXPECT_FALSE(first.result.tree() == nullptr);
  const auto request = evaluator.submit(EvaluateRequest{other_text_, tree_, {}, key});
  EXPECT_TRUE(request.ready());  // the caller's key decides, and nothing else
  EXPECT_EQ(request.get().by, AnsweredBy::result_cache);
  EXPECT_TRUE(same_bits(first.result, request.get().result));
  EXPECT_EQ(request.get().result.tree(), nullptr);
  // Another kind of request has keys of its own.
  EXPECT_EQ(evaluator.answer(ScoreRequest{sequence_, {{3}}, {}, key}).by, AnsweredBy::run);
  EXPECT_EQ(evaluator.answer(ScoreRequest{sequence_, {{3}}, {}, key}).by, AnsweredBy::result_cache);
  EXPECT_EQ(evaluator.hits_of(42), 2U);
  EXPECT_EQ(evaluator.hits_of(43), std::nullopt);
  const ResultCacheStats stats = evaluator.metrics().result_cache;
  EXPECT_EQ(stats.hits, 2U);
  EXPECT_EQ(stats.misses, 2U);
  EXPECT_EQ(stats.entries, 2U);
  EXPECT_GE(stats.bytes, 2 * model_.info().vocab_size * sizeof(float));
}

TEST_F(EvaluatorJoins, SkippedAnswersAreNeitherFoundNorKept) {
  Evaluator evaluator(model_);
  const RequestOptions skip{.cache_key = 1, .skip_cache = true};
  EXPECT_EQ(evaluator.answer(ScoreRequest{sequence_, {{3}}, {}, skip}).by, AnsweredBy::run);
  EXPECT_EQ(evaluator.answer(ScoreRequest{sequence_, {{3}}, {}, {.cache_key = 1}}).by,
            AnsweredBy::run);
  EXPECT_EQ(evaluator.answer(ScoreRequest{sequence_, {{3}}, {}, skip}).by, AnsweredBy::run);
  EXPECT_EQ(evaluator.metrics().result_cache.skipped, 2U);
  EXPECT_EQ(evaluator.metrics().result_cache.hits, 0U);
}

TEST_F(EvaluatorJoins, KeptAnswersStayWithinTheirBound) {
  EvaluatorOptions options;
  options.result_cache_bytes = 5 * (model_.info().vocab_size * sizeof(float) + 600);
  Evaluator evaluator(model_, options);
  const auto ask = [&](std::uint64_t key) {
    return evaluator.answer(EvaluateRequest{sequence_, {{3}, {-1}}, {}, {.cache_key = key}}).by;
  };
  for (std::uint64_t key = 0; key < 20; ++key) {
    EXPECT_EQ(ask(key), AnsweredBy::run);
    EXPECT_EQ(ask(key), AnsweredBy::result_cache);
    if (key > 0) {
      EXPECT_EQ(ask(0), AnsweredBy::result_cache);  // used, so not the one that is forgotten
    }
    const ResultCacheStats stats = evaluator.metrics().result_cache;
    EXPECT_LE(stats.bytes, stats.max_bytes);
  }
  const ResultCacheStats stats = evaluator.metrics().result_cache;
  EXPECT_EQ(stats.entries + stats.evictions, 20U);
  EXPECT_GE(stats.entries, 3U);
  EXPECT_EQ(ask(1), AnsweredBy::run);
}

TEST_F(EvaluatorJoins, NothingIsKeptWithoutRoom) {
  Evaluator evaluator(model_, {.result_cache_bytes = 0});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(evaluator.answer(ScoreRequest{sequence_, {{3}}, {}, {.cache_key = 1}}).by,
              AnsweredBy::run);
  }
  EXPECT_EQ(evaluator.metrics().result_cache.entries, 0U);
}

TEST_F(EvaluatorJoins, ExtensionsAreNeverKeptOrJoined) {
  HeldEvaluator evaluator(model_);
  const RequestOptions key{.cache_key = 1};
  const auto first = evaluator->submit(ExtendRequest{sequence_, {3}, {}, key});
  const auto second = evaluator->submit(ExtendRequest{same_text_, {3}, {}, key});
  evaluator.release();
  EXPECT_EQ(first.get().by, AnsweredBy::run);
  EXPECT_EQ(second.get().by, AnsweredBy::run);
  EXPECT_EQ(same_text_->length(), 3U);
}

}  // namespace
}  // namespace kvcache
