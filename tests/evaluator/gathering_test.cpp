// When a run begins, and what goes into it.
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include "evaluator/held_evaluator.hpp"

namespace kvcache {
namespace {

using std::chrono::milliseconds;
using test::HeldEvaluator;
using test::share_text;

class Gathering : public testing::Test {
 protected:
  Request<Logits> submit(Submitter& submitter, std::size_t tokens = 1) {
    return submitter.submit(
        ExtendRequest{share_text(model_, {1, 2}), std::vector<TokenId>(tokens, TokenId{1})});
  }

  Model model_ = Model::load(test::model_path("plain"));
};

TEST_F(Gathering, WaitsForCompanyNoLongerThanMaxDelay) {
  Evaluator evaluator(model_, {.max_delay = milliseconds(50)});
  const auto began = std::chrono::steady_clock::now();
  const Request<Logits> first = submit(evaluator);
  const Request<Logits> second = submit(evaluator);
  EXPECT_GE(first.get().waited, milliseconds(50));
  (void)second.get();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
  EXPECT_EQ(evaluator.metrics().runs, 1U);
}

TEST_F(Gathering, WaitsForACompleteRunAtMost) {
  EvaluatorOptions options = test::held_options();
  options.max_rows = 3;
  Evaluator evaluator(model_, options);
  std::vector<Request<Logits>> requests;
  requests.push_back(submit(evaluator));
  requests.push_back(submit(evaluator));
  EXPECT_FALSE(requests[0].wait_for(milliseconds(20)));
  requests.push_back(submit(evaluator));
  for (const Request<Logits>& request : requests) {
    (void)request.get();
  }
  EXPECT_EQ(evaluator.metrics().rows_per_run.largest, 3);
}

TEST_F(Gathering, TokensLimitARunToo) {
  EvaluatorOptions options = test::held_options();
  options.max_tokens = 8;
  HeldEvaluator evaluator(model_, options);
  const Request<Logits> first = submit(*evaluator, 3);
  EXPECT_FALSE(first.wait_for(milliseconds(20)));
  const Request<Logits> second = submit(*evaluator, 5);  // 8 now: a run begins
  (void)first.get();
  (void)second.get();
  EXPECT_EQ(evaluator->metrics().tokens_per_run.largest, 8);
  std::vector<Request<Logits>> requests;
  requests.push_back(submit(*evaluator, 20));  // more than a run has, so it goes alone
  (void)requests.front().get();
  for (int i = 0; i < 5; ++i) {
    requests.push_back(submit(*evaluator, 3));
  }
  evaluator.release();
  for (const Request<Logits>& request : requests) {
    (void)request.get();
  }
  const EvaluatorMetrics metrics = evaluator->metrics();
  EXPECT_EQ(metrics.tokens_per_run.largest, 20);
  EXPECT_EQ(metrics.tokens_per_run.sum, 8 + 20 + 15);
  EXPECT_GE(metrics.runs, 5U);
}

/// Each has an hour for company; it is there when the last of the threads waits.
TEST_F(Gathering, BeginsAtOnceWhenEveryClientWaits) {
  Evaluator evaluator(model_, test::held_options());
  constexpr int kClients = 4;
  constexpr int kRounds = 20;
  std::vector<EvaluatorClient> clients;
  clients.reserve(kClients);
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(evaluator.register_client());
  }
  std::vector<std::jthread> threads;
  threads.reserve(kClients);
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, client = std::move(clients[static_cast<std::size_t>(i)])]() mutable {
      const auto sequence = share_text(model_, {1, 2});
      for (int round = 0; round < kRounds; ++round) {
        (void)client.answer(ExtendRequest{sequence, {3}});
        sequence->rewind(2);
      }
    });
  }
  threads.clear();
  const EvaluatorMetrics metrics = evaluator.metrics();
  EXPECT_EQ(metrics.answered, static_cast<std::uint64_t>(kClients * kRounds));
  EXPECT_EQ(metrics.clients, 0U);
  // Until the first client leaves, all of them are in each run.
  EXPECT_EQ(metrics.rows_per_run.largest, kClients);
  EXPECT_LE(metrics.runs, static_cast<std::uint64_t>(2 * kRounds));
}

std::chrono::nanoseconds cpu_time_of(clockid_t who) {
  timespec time{};
  clock_gettime(who, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

/// Waking another thread, and being woken by it, would take longer than a small model's run.
TEST_F(Gathering, AClientAloneMakesItsRunsInItsOwnThread) {
  ModelOptions options;
  options.num_threads = 1;
  const Model model = Model::load(test::model_path("plain"), options);
  Evaluator evaluator(model, test::held_options());
  EvaluatorClient client = evaluator.register_client();
  const auto sequence = share_text(model, {1, 2});
  const auto process = cpu_time_of(CLOCK_PROCESS_CPUTIME_ID);
  const auto thread = cpu_time_of(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < 200; ++i) {
    if (i % 2 == 0) {
      (void)client.answer(ExtendRequest{sequence, {3, 4, 5}});
    } else {
      (void)client.submit(ExtendRequest{sequence, {3, 4, 5}}).get();
    }
    sequence->rewind(2);
  }
  const auto of_process = cpu_time_of(CLOCK_PROCESS_CPUTIME_ID) - process;
  const auto of_thread = cpu_time_of(CLOCK_THREAD_CPUTIME_ID) - thread;
  EXPECT_EQ(evaluator.metrics().runs, 200U);
  EXPECT_GT(of_thread, of_process / 2);
}

TEST_F(Gathering, AClientThatIsIdleIsNotWaitedFor) {
  Evaluator evaluator(model_, test::held_options());
  EvaluatorClient asks = evaluator.register_client();
  EvaluatorClient works = evaluator.register_client();
  const Request<Logits> request = submit(asks);
  EXPECT_FALSE(request.wait_for(milliseconds(20)));
  works.idle();
  (void)request.get();  // this one waits, that one is idle
}

TEST_F(Gathering, AClientThatLeavesIsNotWaitedFor) {
  Evaluator evaluator(model_, test::held_options());
  EvaluatorClient asks = evaluator.register_client();
  std::optional<EvaluatorClient> leaves = evaluator.register_client();
  const Request<Logits> request = submit(asks);
  EXPECT_FALSE(request.wait_for(milliseconds(20)));
  leaves.reset();
  (void)request.get();
}

TEST_F(Gathering, AClientThatSubmitsIsNoLongerIdle) {
  Evaluator evaluator(model_, test::held_options());
  EvaluatorClient asks = evaluator.register_client();
  EvaluatorClient works = evaluator.register_client();
  works.idle();
  const Request<Logits> first = submit(works);
  const Request<Logits> second = submit(asks);
  EXPECT_FALSE(second.wait_for(milliseconds(20)));
  works.idle();
  (void)second.get();
  EXPECT_TRUE(first.ready());
}

/// One that gave up waiting does not count as waiting.
TEST_F(Gathering, AClientThatGaveUpWaitingIsWaitedFor) {
  Evaluator evaluator(model_, test::held_options());
  EvaluatorClient first = evaluator.register_client();
  EvaluatorClient second = evaluator.register_client();
  const Request<Logits> request = submit(first);
  EXPECT_FALSE(request.wait_for(milliseconds(1)));
  const Request<Logits> other = submit(second);
  EXPECT_FALSE(other.wait_for(milliseconds(20)));
  std::jthread waits([&] { (void)request.get(); });
  (void)other.get();
}

}  // namespace
}  // namespace kvcache
