// What is wrong with a request fails that request alone.
#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

#include "evaluator/held_evaluator.hpp"
#include "support/faults.hpp"
#include "support/nan_model.hpp"

namespace kvcache {
namespace {

using test::expect_as_uncached;
using test::expect_error;
using test::HeldEvaluator;
using test::Random;
using test::share_text;

TEST(EvaluatorFailures, BadRequestsFailAloneInOneRunWithGoodOnes) {
  const Model model = Model::load(test::model_path("plain"));
  HeldEvaluator evaluator(model);
  const auto good = share_text(model, {1, 2});
  const auto sequence = [&] { return share_text(model, {1, 2}); };
  const std::vector<TokenId> too_many(model.info().max_seq_len, TokenId{1});
  const auto outside = evaluator->submit(ExtendRequest{sequence(), {0, 1 << 20}});
  const auto empty = evaluator->submit(ExtendRequest{sequence(), {}});
  const auto full = evaluator->submit(ExtendRequest{sequence(), too_many});
  const auto first = evaluator->submit(ExtendRequest{good, {3}});
  const auto parent = evaluator->submit(EvaluateRequest{sequence(), {{1, 2}, {-1, 1}}});
  const auto node = evaluator->submit(EvaluateRequest{sequence(), {{1}, {-1}}, {7}});
  const auto no_tree = evaluator->submit(EvaluateRequest{sequence(), {}});
  const auto second = evaluator->submit(EvaluateRequest{sequence(), {{4}, {-1}}});
  const auto nothing = evaluator->submit(ScoreRequest{sequence(), {}});
  const auto no_continuation = evaluator->submit(ScoreRequest{sequence(), {{1}, {}}});
  const auto no_prefix = evaluator->submit(ScoreRequest{test::share(model.new_sequence()), {{1}}});
  const auto unknown = evaluator->submit(ScoreRequest{sequence(), {{1}, {2, -3}}});
  const auto no_output = evaluator->submit(ScoreRequest{sequence(), {{1}}, {"value"}});
  const auto long_one = evaluator->submit(ScoreRequest{sequence(), {too_many}});
  const auto third = evaluator->submit(ScoreRequest{sequence(), {{5}}});
  evaluator.release();
  const auto expect = [](ErrorCode code, const std::string& part, const auto& request) {
    expect_error(code, part, [&] { (void)request.get(); });
  };
  expect(ErrorCode::token_out_of_range, "token 1 of the input is 1048576", outside);
  expect(ErrorCode::empty_input, "no tokens were given", empty);
  expect(ErrorCode::context_full, "tokens do not fit: 2 of the model's", full);
  expect(ErrorCode::invalid_argument, "node 1 of the tree has parent 1", parent);
  expect(ErrorCode::invalid_argument, "logits of node 7 were asked for, the tree has 1 nodes",
         node);
  expect(ErrorCode::empty_input, "no tokens were given", no_tree);
  expect(ErrorCode::empty_input, "no continuations and no outputs", nothing);
  expect(ErrorCode::empty_input, "continuation 1 has no tokens", no_continuation);
  expect(ErrorCode::empty_input, "scores were asked for after an empty sequence", no_prefix);
  expect(ErrorCode::token_out_of_range, "token 1 of continuation 1 is -3", unknown);
  expect(ErrorCode::invalid_argument, "the model has no output \"value\"", no_output);
  expect(ErrorCode::context_full, "tokens do not fit", long_one);
  expect_as_uncached(model, first.get().result.last(), std::vector<TokenId>{1, 2, 3});
  expect_as_uncached(model, second.get().result.row(0), std::vector<TokenId>{1, 2, 4});
  EXPECT_EQ(third.get().result.size(), 1U);
  const EvaluatorMetrics metrics = evaluator->metrics();
  EXPECT_EQ(metrics.runs, 1U);
  EXPECT_EQ(metrics.failed, 12U);
  EXPECT_EQ(metrics.failed_runs, 0U);
}

/// A run that fails says nothing of its rows: they are run again in halves.
TEST(EvaluatorFailures, ARunThatFailsIsRepeatedUntilOnlyTheCulpritsAreLeft) {
  constexpr std::size_t kPosition = 4;
  const Model model = test::NanModel(kPosition).load();
  test::for_random_cases(20, [&](Random& random) {
    HeldEvaluator evaluator(model);
    struct Row {
      std::shared_ptr<Sequence> sequence;
      std::size_t before;
      bool bad;
      Request<Logits> request;
    };
    std::vector<Row> rows;
    for (std::int64_t i = random.integer(1, 20); i > 0; --i) {
      const bool bad = random.chance(0.2);
      const auto sequence = share_text(model, {1, 2});
      rows.push_back({sequence, 2, bad,
                      evaluator->submit(
                          ExtendRequest{sequence, std::vector<TokenId>(bad ? 3 : 1, TokenId{3})})});
    }
    evaluator.release();
    for (const Row& row : rows) {
      if (row.bad) {
        expect_error(ErrorCode::logits_invalid, "holds NaN", [&] { (void)row.request.get(); });
        EXPECT_EQ(row.sequence->length(), row.before);
      } else {
        const Logits logits = row.request.get().result;
        expect_as_uncached(model, logits.last(), std::vector<TokenId>{1, 2, 3});
      }
    }
    model.check_cache_invariants();
  });
}

/// A cache of eight blocks of four tokens.
Model load_with_eight_blocks() {
  ModelOptions options;
  options.block_len = 4;
  options.poison_freed_blocks = true;
  options.cache_bytes =
      std::size_t{8} * 4 * Model::load(test::model_path("plain")).info().cache_bytes_per_token();
  return Model::load(test::model_path("plain"), options);
}

/// There is room for one of these at a time: each is answered, one after the other.
TEST(EvaluatorFailures, WhatFindsNoBlockBesideOthersIsPutOff) {
  const Model model = load_with_eight_blocks();
  HeldEvaluator evaluator(model);
  const auto prefix = share_text(model, {1, 2});  // one block, 7 are left
  std::vector<Request<Scores>> requests;
  for (TokenId token = 0; token < 4; ++token) {
    std::vector<TokenId> continuation(18, token);  // 18 nodes: 5 blocks
    requests.push_back(evaluator->submit(ScoreRequest{prefix, {continuation}}));
  }
  const auto never =
      evaluator->submit(ScoreRequest{prefix, {std::vector<TokenId>(30, TokenId{5})}});
  evaluator.release();
  for (const Request<Scores>& request : requests) {
    EXPECT_EQ(request.get().result.tokens(0).size(), 18U);
  }
  expect_error(ErrorCode::cache_full, "8 more needed", [&] { (void)never.get(); });
  const EvaluatorMetrics metrics = evaluator->metrics();
  EXPECT_EQ(metrics.runs, 4U);
  EXPECT_GT(metrics.put_off, 0U);
  EXPECT_EQ(model.cache_stats().blocks_in_use, 1U);
}

/// What another run under way holds is not lost to it.
TEST(EvaluatorFailures, WhatFindsNoBlockBesideAnotherRunIsPutOff) {
  const Model model = load_with_eight_blocks();
  EvaluatorOptions two_runs;
  two_runs.max_runs = 2;
  two_runs.max_rows = 1;
  Evaluator evaluator(model, two_runs);
  const auto prefix = share_text(model, {1, 2});  // one block, 7 are left
  std::vector<std::jthread> threads;
  for (TokenId token = 0; token < 6; ++token) {
    threads.emplace_back([&, token] {
      EvaluatorClient client = evaluator.register_client();
      for (int i = 0; i < 20; ++i) {  // 18 nodes: 5 blocks
        std::vector<TokenId> continuation(18, token);
        continuation.front() = i % 4;
        EXPECT_EQ(client.answer(ScoreRequest{prefix, {continuation}}).result.tokens(0).size(), 18U);
      }
    });
  }
  threads.clear();
  expect_error(ErrorCode::cache_full, "8 more needed", [&] {
    (void)evaluator.answer(ScoreRequest{prefix, {std::vector<TokenId>(30, TokenId{5})}});
  });
  EXPECT_EQ(model.cache_stats().blocks_in_use, 1U);
}

/// Allocations that fail, one after the other, in whatever thread: each request still ends, with an
/// answer or with out_of_memory, and the evaluator goes on.
TEST(EvaluatorFailures, EachAllocationMayFail) {
  if (!test::kFaultsCanBeInjected) {
    GTEST_SKIP() << "the thread sanitiser takes the same functions";
  }
  const Model model = Model::load(test::model_path("plain"));
  Evaluator evaluator(model, {.max_delay = std::chrono::microseconds(0)});
  bool reached = true;
  for (std::uint64_t n = 1; reached && !testing::Test::HasFailure(); n += n < 100 ? 1 : 7) {
    SCOPED_TRACE("allocation " + std::to_string(n));
    const auto sequence = share_text(model, {1, 2});
    std::vector<ErrorCode> codes;
    {
      const test::Fault fault(test::Faulty::allocation, n);
      const auto attempt = [&](const auto& make) {
        try {
          (void)evaluator.submit(make()).get();
        } catch (const Error& error) {
          codes.push_back(error.code());
        } catch (const std::bad_alloc&) {
          codes.push_back(ErrorCode::out_of_memory);  // in the making of the request
        }
      };
      attempt([&] { return ExtendRequest{sequence, {3}}; });
      attempt([&] { return EvaluateRequest{sequence, {{4}, {-1}}, {}, {.cache_key = n}}; });
      attempt([&] { return ScoreRequest{sequence, {{5}, {6, 7}}}; });
      reached = test::Fault::calls() >= n;
    }
    for (const ErrorCode code : codes) {
      EXPECT_EQ(code, ErrorCode::out_of_memory);
    }
    EXPECT_LE(codes.size(), 1U);
    const std::size_t length = sequence->length();
    const Logits logits = evaluator.answer(ExtendRequest{sequence, {8}}).result;
    EXPECT_EQ(sequence->length(), length + 1);
    expect_as_uncached(model, logits.last(), sequence->tokens());
  }
  EXPECT_FALSE(reached);
  model.check_cache_invariants();
}

TEST(EvaluatorFailures, ARefusedThreadIsSystemRefused) {
  if (!test::kFaultsCanBeInjected) {
    GTEST_SKIP() << "the thread sanitiser takes the same functions";
  }
  const Model model = Model::load(test::model_path("plain"));
  {
    const test::Fault fault(test::Faulty::thread, 1);
    expect_error(ErrorCode::system_refused, "the evaluator was not started",
                 [&] { const Evaluator evaluator(model); });
  }
  Evaluator evaluator(model);
  const auto sequence = share_text(model, {1, 2});
  {
    const test::Fault fault(test::Faulty::thread, 1);
    expect_error(ErrorCode::system_refused, "the request was not submitted", [&] {
      (void)evaluator.submit(ExtendRequest{sequence, {3}}, [](const Request<Logits>&) {});
    });
  }
  EXPECT_EQ(sequence.use_count(), 1);
  (void)evaluator.answer(ExtendRequest{sequence, {3}});
}

}  // namespace
}  // namespace kvcache
