// Requests of one sequence are run in the order in which they were submitted.
#include <gtest/gtest.h>

#include <vector>

#include "evaluator/held_evaluator.hpp"
#include "support/trees.hpp"

namespace kvcache {
namespace {

using test::expect_as_uncached;
using test::expect_error;
using test::HeldEvaluator;
using test::Random;
using test::share_text;

/// Submitted at once, each is answered as the direct call at its place would be.
TEST(EvaluatorOrder, AnyPipelineEqualsTheCallsOneByOne) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    HeldEvaluator evaluator(model);
    const auto sequence = share_text(model, {1});
    std::vector<TokenId> text{1};
    struct Step {
      std::vector<TokenId> text;
      std::optional<Request<Logits>> extension;
      std::optional<Request<EvaluatedNodes>> evaluation;
    };
    std::vector<Step> steps;
    for (std::int64_t i = random.integer(2, 10); i > 0; --i) {
      Step& step = steps.emplace_back();
      const TokenId token = test::random_tokens(random, model.info(), 1).front();
      step.text = text;
      step.text.push_back(token);
      const Priority priority = random.chance(0.5) ? Priority::high : Priority::low;
      if (random.chance(0.5)) {
        step.extension =
            evaluator->submit(ExtendRequest{sequence, {token}, {}, {.priority = priority}});
        text.push_back(token);
      } else {
        step.evaluation = evaluator->submit(
            EvaluateRequest{sequence, {{token}, {-1}}, {}, {.priority = priority}});
      }
    }
    evaluator.release();
    for (const Step& step : steps) {
      if (step.extension) {
        expect_as_uncached(model, step.extension->get().result.last(), step.text);
      } else {
        expect_as_uncached(model, step.evaluation->get().result.row(0), step.text);
      }
    }
    EXPECT_TRUE(std::ranges::equal(sequence->tokens(), text));
  });
}

/// Those that read do not wait for each other.
TEST(EvaluatorOrder, ReadsBetweenTwoExtensionsShareARun) {
  const Model model = Model::load(test::model_path("plain"));
  HeldEvaluator evaluator(model);
  const auto sequence = share_text(model, {1, 2});
  std::vector<Request<EvaluatedNodes>> reads;
  for (TokenId token = 0; token < 3; ++token) {
    reads.push_back(evaluator->submit(EvaluateRequest{sequence, {{token}, {-1}}}));
  }
  const auto extension = evaluator->submit(ExtendRequest{sequence, {3}});
  const auto behind = evaluator->submit(EvaluateRequest{sequence, {{4}, {-1}}});
  evaluator.release();
  expect_as_uncached(model, behind.get().result.row(0), std::vector<TokenId>{1, 2, 3, 4});
  for (TokenId token = 0; token < 3; ++token) {
    expect_as_uncached(model, reads[static_cast<std::size_t>(token)].get().result.row(0),
                       std::vector<TokenId>{1, 2, token});
  }
  EXPECT_EQ(evaluator->metrics().runs, 3U);
}

/// As with direct calls: the next one goes on with the sequence as it is, unless it says that it
/// relies on those before it.
TEST(EvaluatorOrder, WhatFollowsAFailureIsRunOnTheSequenceAsItIs) {
  const Model model = Model::load(test::model_path("plain"));
  HeldEvaluator evaluator(model);
  const auto sequence = share_text(model, {1, 2});
  const auto bad = evaluator->submit(ExtendRequest{sequence, {-1}});
  const auto good = evaluator->submit(ExtendRequest{sequence, {3}, {}, {.at_length = 2}});
  const auto late = evaluator->submit(ExtendRequest{sequence, {4}, {}, {.at_length = 4}});
  evaluator.release();
  expect_error(ErrorCode::token_out_of_range, "token 0 of the input is -1",
               [&] { (void)bad.get(); });
  expect_as_uncached(model, good.get().result.last(), std::vector<TokenId>{1, 2, 3});
  expect_error(ErrorCode::invalid_argument,
               "the request was to be run when its sequence has 4 tokens, but it has 3: a request "
               "before it failed, or was cancelled",
               [&] { (void)late.get(); });
  EXPECT_EQ(sequence->length(), 3U);
}

}  // namespace
}  // namespace kvcache
