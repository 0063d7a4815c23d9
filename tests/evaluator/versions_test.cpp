// Models that change while requests come.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "evaluator/held_evaluator.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

using test::expect_as_uncached;
using test::expect_error;
using test::HeldEvaluator;
using test::share;
using test::share_text;

/// The golden `plain`, and the same with other weights.
class EvaluatorVersions : public testing::Test {
 protected:
  EvaluatorVersions() {
    test::fs::copy(test::model_path("plain"), other_path(), test::fs::copy_options::recursive);
    const test::fs::path weights = other_path() / "gpt2_with_cache.onnx.data";
    std::string bytes = test::read_file(weights);
    std::fill_n(bytes.begin(), 4096, '\0');
    test::write_file(weights, bytes);
    ModelOptions options;
    options.verify_digests = false;
    second_ = Model::load(other_path(), options);
  }

  [[nodiscard]] test::fs::path other_path() const { return directory_.path() / "model"; }

  test::TemporaryDirectory directory_;
  Model first_ = Model::load(test::model_path("plain"));
  Model second_ = first_;
};

TEST_F(EvaluatorVersions, EachSequenceKeepsItsOwnUntilItIsRenewed) {
  const std::vector<TokenId> text{1, 2, 3};
  ASSERT_FALSE(std::ranges::equal(first_.forward_without_cache(text).last(),
                                  second_.forward_without_cache(text).last()));
  Evaluator evaluator(first_);
  const auto old = share(evaluator.new_sequence());
  EXPECT_EQ(evaluator.answer(ExtendRequest{old, {1, 2}}).version, 1U);
  EXPECT_EQ(evaluator.swap_model(second_), 2U);
  const auto fresh = share(evaluator.new_sequence());
  const auto of_old = evaluator.answer(ExtendRequest{old, {3}});
  EXPECT_EQ(of_old.version, 1U);
  expect_as_uncached(first_, of_old.result.last(), text);
  const auto of_fresh = evaluator.answer(ExtendRequest{fresh, text});
  EXPECT_EQ(of_fresh.version, 2U);
  expect_as_uncached(second_, of_fresh.result.last(), text);
  const auto renewed =
      evaluator.answer(ExtendRequest{.sequence = old, .tokens = {4}, .renew = true});
  EXPECT_EQ(renewed.version, 2U);
  const std::vector<TokenId> longer{1, 2, 3, 4};
  EXPECT_TRUE(std::ranges::equal(old->tokens(), longer));
  expect_as_uncached(second_, renewed.result.last(), longer);
  const auto tree = evaluator.answer(EvaluateRequest{old, {{5}, {-1}}});
  EXPECT_EQ(tree.version, 2U);
  expect_as_uncached(second_, tree.result.row(0), std::vector<TokenId>{1, 2, 3, 4, 5});
  EXPECT_EQ(evaluator.metrics().version, 2U);
}

TEST_F(EvaluatorVersions, ARenewalNeedsNoTokensAndFailsWithoutATrace) {
  Evaluator evaluator(first_);
  const auto sequence = share(evaluator.new_sequence());
  (void)evaluator.answer(ExtendRequest{sequence, {1, 2}});
  evaluator.swap_model(second_);
  expect_error(ErrorCode::token_out_of_range, "token 2 of the input is -1", [&] {
    (void)evaluator.answer(ExtendRequest{.sequence = sequence, .tokens = {-1}, .renew = true});
  });
  EXPECT_EQ(evaluator.answer(ExtendRequest{sequence, {3}}).version, 1U);
  const auto renewed = evaluator.answer(ExtendRequest{.sequence = sequence, .renew = true});
  EXPECT_EQ(renewed.version, 2U);
  expect_as_uncached(second_, renewed.result.last(), std::vector<TokenId>{1, 2, 3});
}

/// Rows of two models cannot share a run.
TEST_F(EvaluatorVersions, RequestsOfTwoVersionsWaitTogetherAndRunApart) {
  HeldEvaluator evaluator(first_);
  std::vector<Request<Logits>> requests;
  for (int i = 0; i < 6; ++i) {
    const auto sequence = share(evaluator->new_sequence());
    requests.push_back(evaluator->submit(ExtendRequest{sequence, {1, 2}}));
    if (i == 2) {
      evaluator->swap_model(second_);
    }
  }
  evaluator.release();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto answer = requests[i].get();
    EXPECT_EQ(answer.version, i < 3 ? 1U : 2U);
    expect_as_uncached(i < 3 ? first_ : second_, answer.result.last(), std::vector<TokenId>{1, 2});
  }
  EXPECT_EQ(evaluator->metrics().runs, 2U);
}

TEST_F(EvaluatorVersions, KeptAnswersAreOfTheNewest) {
  Evaluator evaluator(first_);
  const RequestOptions key{.cache_key = 1};
  const auto old = share_text(first_, {1, 2});
  (void)evaluator.answer(EvaluateRequest{old, {{3}, {-1}}, {}, key});
  evaluator.swap_model(second_);
  const auto fresh = share_text(second_, {1, 2});
  const auto answer = evaluator.answer(EvaluateRequest{fresh, {{3}, {-1}}, {}, key});
  EXPECT_EQ(answer.by, AnsweredBy::run);
  EXPECT_EQ(answer.version, 2U);
  // What an old version says is not kept for the new one.
  const auto of_old = evaluator.answer(EvaluateRequest{old, {{3}, {-1}}, {}, key});
  EXPECT_EQ(of_old.version, 1U);
  expect_as_uncached(first_, of_old.result.row(0), std::vector<TokenId>{1, 2, 3});
  EXPECT_EQ(evaluator.answer(EvaluateRequest{fresh, {{3}, {-1}}, {}, key}).version, 2U);
}

TEST_F(EvaluatorVersions, OtherVocabulariesAndOutputsAreRefused) {
  Evaluator evaluator(first_);
  const Model hidden = Model::load(test::hidden_states_model_path("plain"));
  expect_error(ErrorCode::invalid_argument, "it has other outputs beside the logits",
               [&] { evaluator.swap_model(hidden); });
  EXPECT_EQ(evaluator.metrics().version, 1U);
}

/// Searches go on while weights change under them; each answer is that of the version it names.
TEST_F(EvaluatorVersions, ChangeUnderRunningSearches) {
  const std::vector<TokenId> text{1, 2, 3, 4};
  Evaluator evaluator(first_);
  std::atomic<bool> done{false};
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      EvaluatorClient client = evaluator.register_client();
      const auto sequence = share(evaluator.new_sequence());
      std::uint64_t last = 0;
      while (!done) {
        const auto answer =
            client.answer(ExtendRequest{.sequence = sequence, .tokens = text, .renew = true});
        expect_as_uncached(answer.version % 2 == 1 ? first_ : second_, answer.result.last(), text);
        EXPECT_GE(answer.version, last);
        last = answer.version;
        const auto score = client.answer(ScoreRequest{sequence, {{5}}});
        EXPECT_EQ(score.version % 2, answer.version % 2);  // the same model until it is renewed
        sequence->reset();
      }
    });
  }
  for (int swap = 0; swap < 20; ++swap) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    evaluator.swap_model(swap % 2 == 0 ? second_ : first_);
  }
  done = true;
  threads.clear();
  EXPECT_EQ(evaluator.metrics().version, 21U);
}

}  // namespace
}  // namespace kvcache
