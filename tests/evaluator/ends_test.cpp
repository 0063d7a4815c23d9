// Requests that end without an answer: cancelled, expired, refused, left behind.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "evaluator/held_evaluator.hpp"

namespace kvcache {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using test::error_of;
using test::expect_as_uncached;
using test::expect_error;
using test::HeldEvaluator;
using test::share_text;

class EvaluatorEnds : public testing::Test {
 protected:
  Model model_ = Model::load(test::model_path("plain"));
  std::shared_ptr<Sequence> sequence_ = share_text(model_, {1, 2});
};

TEST_F(EvaluatorEnds, CancelledRequestsLeaveTheirSequenceToTheNext) {
  HeldEvaluator evaluator(model_);
  const auto first = evaluator->submit(ExtendRequest{sequence_, {3}});
  const auto second = evaluator->submit(ExtendRequest{sequence_, {4}});
  const auto third = evaluator->submit(EvaluateRequest{sequence_, {{5}, {-1}}});
  EXPECT_TRUE(first.cancel());
  EXPECT_FALSE(first.cancel());
  EXPECT_TRUE(first.ready());
  expect_error(ErrorCode::cancelled, "the request was cancelled before its run began",
               [&] { (void)first.get(); });
  evaluator.release();
  expect_as_uncached(model_, third.get().result.row(0), std::vector<TokenId>{1, 2, 4, 5});
  EXPECT_FALSE(third.cancel());
  (void)second.get();
  const EvaluatorMetrics metrics = evaluator->metrics();
  EXPECT_EQ(metrics.cancelled, 1U);
  EXPECT_EQ(metrics.answered, 2U);
}

TEST_F(EvaluatorEnds, OneInTheMiddleCanBeCancelledToo) {
  HeldEvaluator evaluator(model_);
  const auto read = evaluator->submit(EvaluateRequest{sequence_, {{5}, {-1}}});
  const auto write = evaluator->submit(ExtendRequest{sequence_, {3}});
  const auto behind = evaluator->submit(EvaluateRequest{sequence_, {{6}, {-1}}});
  EXPECT_TRUE(write.cancel());  // nothing keeps the two reads apart now
  evaluator.release();
  (void)read.get();
  expect_as_uncached(model_, behind.get().result.row(0), std::vector<TokenId>{1, 2, 6});
  EXPECT_EQ(evaluator->metrics().runs, 1U);
}

TEST_F(EvaluatorEnds, DeadlinesPassWhetherSomebodyWaitsOrNot) {
  HeldEvaluator evaluator(model_);
  const RequestOptions soon{.deadline = steady_clock::now() + milliseconds(20)};
  std::atomic<int> called{0};
  const auto alone = evaluator->submit(ExtendRequest{sequence_, {3}, {}, soon},
                                       [&](const Request<Logits>& request) {
                                         EXPECT_EQ(error_of(request), ErrorCode::deadline_exceeded);
                                         ++called;
                                       });
  while (called == 0) {
    std::this_thread::yield();
  }
  EXPECT_GE(steady_clock::now(), *soon.deadline);
  const RequestOptions later{.deadline = steady_clock::now() + milliseconds(20)};
  const auto waited_for = evaluator->submit(ExtendRequest{sequence_, {3}, {}, later});
  expect_error(ErrorCode::deadline_exceeded,
               "no run had begun; 0 others wait: give it more time or a higher priority",
               [&] { (void)waited_for.get(); });
  const auto too_late = evaluator->submit(ExtendRequest{sequence_, {3}, {}, later});
  EXPECT_TRUE(too_late.ready());
  EXPECT_EQ(error_of(too_late), ErrorCode::deadline_exceeded);
  EXPECT_EQ(sequence_->length(), 2U);
  EXPECT_EQ(evaluator->metrics().expired, 3U);
}

TEST_F(EvaluatorEnds, OneInTimeIsAnswered) {
  HeldEvaluator evaluator(model_);
  const RequestOptions in_time{.deadline = steady_clock::now() + std::chrono::hours(1)};
  const auto request = evaluator->submit(ExtendRequest{sequence_, {3}, {}, in_time});
  evaluator.release();
  expect_as_uncached(model_, request.get().result.last(), std::vector<TokenId>{1, 2, 3});
}

TEST_F(EvaluatorEnds, OneTooManyIsRefused) {
  EvaluatorOptions options = test::held_options();
  options.max_waiting = 2;
  HeldEvaluator evaluator(model_, options);
  const auto first = evaluator->submit(ExtendRequest{sequence_, {3}});
  const auto second = evaluator->submit(ExtendRequest{sequence_, {4}});
  const auto third = evaluator->submit(ExtendRequest{sequence_, {5}});
  expect_error(ErrorCode::queue_full, "as many unanswered requests as its max_waiting",
               [&] { (void)third.get(); });
  evaluator.release();
  (void)first.get();
  (void)second.get();
  (void)evaluator->answer(ExtendRequest{sequence_, {5}});
  EXPECT_EQ(sequence_->length(), 5U);
}

TEST_F(EvaluatorEnds, TheEvaluatorsEndCancelsWhatWaits) {
  std::vector<Request<Logits>> requests;
  std::atomic<int> called{0};
  std::optional<EvaluatorClient> client;
  {
    HeldEvaluator evaluator(model_);
    client = evaluator->register_client();
    for (int i = 0; i < 5; ++i) {
      requests.push_back(
          evaluator->submit(ExtendRequest{sequence_, {3}}, [&](const Request<Logits>& request) {
            EXPECT_EQ(error_of(request), ErrorCode::cancelled);
            ++called;
          }));
    }
  }
  EXPECT_EQ(called, 5);
  for (const auto& request : requests) {
    expect_error(ErrorCode::cancelled, "the evaluator was destroyed before the request's run began",
                 [&] { (void)request.get(); });
  }
  EXPECT_EQ(sequence_->length(), 2U);
  // A client may outlive it; what it asks is cancelled.
  const auto late =
      client->submit(ExtendRequest{sequence_, {3}}, [&](const Request<Logits>&) { ++called; });
  EXPECT_EQ(error_of(late), ErrorCode::cancelled);
  EXPECT_EQ(called, 6);
  EXPECT_EQ(sequence_.use_count(), 1);
}

/// Those in a run are answered.
TEST_F(EvaluatorEnds, TheEvaluatorsEndWaitsForTheRunUnderWay) {
  for (int round = 0; round < 20; ++round) {
    std::optional<Request<Logits>> request;
    const auto sequence = share_text(model_, {1, 2});
    {
      Evaluator evaluator(model_, {.max_delay = std::chrono::microseconds(0)});
      request = evaluator.submit(ExtendRequest{sequence, std::vector<TokenId>(20, TokenId{3})});
      std::this_thread::sleep_for(std::chrono::microseconds(round * 20));
    }
    ASSERT_TRUE(request->ready());
    try {
      EXPECT_EQ(request->get().result.rows(), 1U);
      EXPECT_EQ(sequence->length(), 22U);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cancelled);
      EXPECT_EQ(sequence->length(), 2U);
    }
  }
}

TEST_F(EvaluatorEnds, RequestsWithoutASequenceAreRefused) {
  Evaluator evaluator(model_);
  expect_error(ErrorCode::invalid_argument, "the request names no sequence", [&] {
    (void)evaluator.answer(ExtendRequest{nullptr, {3}});
  });
  Sequence moved = model_.new_sequence();
  const Sequence taken = std::move(moved);
  // NOLINTNEXTLINE(bugprone-use-after-move): what is refused
  expect_error(ErrorCode::invalid_argument, "the request's sequence was moved away", [&] {
    (void)evaluator.answer(ExtendRequest{borrow(moved), {3}});
  });
  const Model other = Model::load(test::model_path("plain"));
  Sequence foreign = other.new_sequence();
  expect_error(ErrorCode::invalid_argument, "of a model that the evaluator was never given", [&] {
    (void)evaluator.answer(ExtendRequest{borrow(foreign), {3}});
  });
}

}  // namespace
}  // namespace kvcache
