#include "kvcache/evaluator.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <future>
#include <thread>
#include <vector>

#include "evaluator/held_evaluator.hpp"
#include "support/trees.hpp"

namespace kvcache {
namespace {

using test::expect_as_uncached;
using test::expect_close;
using test::expect_error;
using test::expect_same;
using test::HeldEvaluator;
using test::Random;
using test::random_tokens;
using test::share_text;

std::vector<TokenId> random_text(Random& random, const Model& model, std::int64_t shortest,
                                 std::int64_t room) {
  const auto most = static_cast<std::int64_t>(model.info().max_seq_len) - room;
  return random_tokens(random, model.info(), random.integer(shortest, most));
}

std::vector<TokenId> joined(std::vector<TokenId> text, std::span<const TokenId> more) {
  text.insert(text.end(), more.begin(), more.end());
  return text;
}

/// log p of the last token of `text` after the others, from logits computed without a cache.
double log_probability(const Model& model, const std::vector<TokenId>& text) {
  const Logits logits = model.forward_without_cache(std::span(text).first(text.size() - 1));
  double sum = 0;
  for (const float logit : logits.last()) {
    sum += std::exp(static_cast<double>(logit));
  }
  return static_cast<double>(logits.last()[static_cast<std::size_t>(text.back())]) - std::log(sum);
}

TEST(Evaluator, AnyMixInOneRunEqualsPlainForwards) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    HeldEvaluator evaluator(model);
    struct Asked {
      std::vector<TokenId> text;
      std::vector<TokenId> tokens;
      TokenTree tree;
      std::optional<Request<Logits>> extension;
      std::optional<Request<EvaluatedNodes>> evaluation;
      std::optional<Request<Scores>> score;
      std::shared_ptr<Sequence> sequence;
    };
    std::vector<Asked> all(static_cast<std::size_t>(random.integer(1, 12)));
    for (Asked& asked : all) {
      asked.text = random_text(random, model, 1, 10);
      asked.sequence = share_text(model, asked.text);
      asked.tokens = random_tokens(random, model.info(), random.integer(1, 10));
      asked.tree = test::random_tree(random, model.info(), random.integer(1, 20), 8);
      switch (random.integer(0, 2)) {
        case 0:
          asked.extension = evaluator->submit(ExtendRequest{
              asked.sequence, asked.tokens, random.chance(0.5) ? LogitsFor::last : LogitsFor::all});
          break;
        case 1:
          asked.evaluation = evaluator->submit(EvaluateRequest{asked.sequence, asked.tree});
          break;
        default:
          asked.score = evaluator->submit(ScoreRequest{asked.sequence, {asked.tokens}});
      }
    }
    evaluator.release();
    for (Asked& asked : all) {
      Sequence alone = model.new_sequence();
      alone.extend(asked.text);
      if (asked.extension) {
        const Logits logits = asked.extension->get().result;
        expect_same(model, logits.last(), alone.extend(asked.tokens).last());
        const std::vector<TokenId> text = joined(asked.text, asked.tokens);
        EXPECT_TRUE(std::ranges::equal(asked.sequence->tokens(), text));
        for (std::size_t row = 0; row < logits.rows(); ++row) {
          expect_as_uncached(model, logits.row(row),
                             std::span(text).first(text.size() - logits.rows() + row + 1));
        }
      } else if (asked.evaluation) {
        const EvaluatedNodes nodes = asked.evaluation->get().result;
        ASSERT_EQ(nodes.rows(), asked.tree.tokens.size());
        const TreeEvaluation evaluation = alone.evaluate(asked.tree);
        for (std::size_t node = 0; node < nodes.rows(); ++node) {
          expect_same(model, nodes.row(node), evaluation.logits().row(node));
          expect_as_uncached(model, nodes.row(node),
                             test::text_of_node(asked.text, asked.tree, node));
        }
      } else {
        const Scores scores = asked.score->get().result;
        ASSERT_EQ(scores.tokens(0).size(), asked.tokens.size());
        for (std::size_t i = 0; i < asked.tokens.size(); ++i) {
          const double expected =
              log_probability(model, joined(asked.text, std::span(asked.tokens).first(i + 1)));
          EXPECT_NEAR(scores.tokens(0)[i], expected,
                      10 * test::tolerance() * std::max(1.0, std::abs(expected)));
        }
      }
    }
    const EvaluatorMetrics metrics = evaluator->metrics();
    EXPECT_EQ(metrics.runs, 1U);
    EXPECT_EQ(metrics.rows_per_run.sum, static_cast<double>(all.size()));
    model.check_cache_invariants();
  });
}

/// All that is needed to search: a node of an evaluation becomes part of its sequence, and what
/// others joined can be committed by each.
TEST(Evaluator, TreesCanBeCommitted) {
  Random random(1);
  const Model model = test::load_poisoned(random);
  Evaluator evaluator(model);
  const std::vector<TokenId> text = random_tokens(random, model.info(), 5);
  const auto sequence = share_text(model, text);
  const TokenTree tree{{1, 2, 3}, {-1, 0, -1}};
  const auto nodes = evaluator.answer(EvaluateRequest{sequence, tree, {1}}).result;
  EXPECT_EQ(nodes.rows(), 1U);
  expect_as_uncached(model, nodes.row(0), joined(text, std::vector<TokenId>{1, 2}));
  sequence->commit(*nodes.tree(), 1);
  const Logits logits = evaluator.answer(ExtendRequest{sequence, {3}}).result;
  expect_as_uncached(model, logits.last(), joined(text, std::vector<TokenId>{1, 2, 3}));
}

TEST(Evaluator, ScoresAreLogProbabilitiesOfAllContinuations) {
  test::for_random_cases(20, [](Random& random) {
    const Model model = test::load_poisoned(random);
    Evaluator evaluator(model);
    const std::vector<TokenId> text = random_text(random, model, 1, 5);
    std::vector<std::vector<TokenId>> continuations;
    for (std::int64_t i = random.integer(1, 8); i > 0; --i) {
      continuations.push_back(random_tokens(random, model.info(), random.integer(1, 4)));
      if (random.chance(0.5)) {  // so that they share nodes
        continuations.back().front() = continuations.front().front();
      }
    }
    const Scores scores =
        evaluator.answer(ScoreRequest{share_text(model, text), continuations}).result;
    ASSERT_EQ(scores.size(), continuations.size());
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      double total = 0;
      for (std::size_t t = 0; t < continuations[i].size(); ++t) {
        const double expected =
            log_probability(model, joined(text, std::span(continuations[i]).first(t + 1)));
        EXPECT_NEAR(scores.tokens(i)[t], expected,
                    10 * test::tolerance() * std::max(1.0, std::abs(expected)));
        total += static_cast<double>(scores.tokens(i)[t]);
      }
      EXPECT_NEAR(scores.total(i), total, 1e-4);
    }
    model.check_cache_invariants();
  });
}

TEST(Evaluator, ScoresSumToOne) {
  Random random(2);
  const Model model = test::load_poisoned(random);
  Evaluator evaluator(model);
  std::vector<std::vector<TokenId>> every;
  for (TokenId token = 0; token < static_cast<TokenId>(model.info().vocab_size); ++token) {
    every.push_back({token});
  }
  const auto sequence = share_text(model, {1, 2, 3});
  const Scores scores = evaluator.answer(ScoreRequest{sequence, every}).result;
  double sum = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    sum += std::exp(static_cast<double>(scores.total(i)));
  }
  EXPECT_NEAR(sum, 1, 1e-4);
  EXPECT_EQ(evaluator.metrics().tokens_per_run.sum, 1);  // the prefix's last token alone
}

TEST(Evaluator, CallbacksGetTheSameAndMayAskAgain) {
  Random random(3);
  const Model model = test::load_poisoned(random);
  Evaluator evaluator(model);
  const auto sequence = share_text(model, {1, 2});
  std::promise<Request<Logits>> second;
  const Request<Logits> first =
      evaluator.submit(ExtendRequest{sequence, {3}}, [&](const Request<Logits>& request) {
        EXPECT_TRUE(request.ready());
        const TokenId best = request.get().result.argmax();
        // It waits here for another run, which the callback's thread does not hold up.
        (void)evaluator.answer(ExtendRequest{sequence, {best}});
        (void)evaluator.submit(ExtendRequest{sequence, {4}},
                               [&](const Request<Logits>& last) { second.set_value(last); });
      });
  const Request<Logits> last = second.get_future().get();
  std::vector<TokenId> text{1, 2, 3, first.get().result.argmax(), 4};
  expect_as_uncached(model, last.get().result.last(), text);
}

TEST(Evaluator, DropsAndCountsWhatACallbackThrows) {
  Random random(4);
  const Model model = test::load_poisoned(random);
  Evaluator evaluator(model);
  const auto sequence = share_text(model, {1, 2});
  (void)evaluator.submit(ExtendRequest{sequence, {3}},
                         [](const Request<Logits>&) { throw std::runtime_error("mine"); });
  std::promise<void> called;
  (void)evaluator.submit(ExtendRequest{sequence, {3}},
                         [&](const Request<Logits>&) { called.set_value(); });
  called.get_future().wait();
  EXPECT_EQ(evaluator.metrics().callbacks_failed, 1U);
}

/// What is answered holds nothing of the caller's, and results live on.
TEST(Evaluator, LetsGoOfSequencesAndResultsOutliveIt) {
  Random random(5);
  const Model model = test::load_poisoned(random);
  std::optional<Request<Logits>> request;
  std::optional<Logits> logits;
  {
    Evaluator evaluator(model);
    const auto sequence = share_text(model, {1, 2});
    request = evaluator.submit(ExtendRequest{sequence, {3}});
    logits = request->get().result;
    EXPECT_EQ(sequence.use_count(), 1);
  }
  expect_as_uncached(model, logits->last(), std::vector<TokenId>{1, 2, 3});
  expect_as_uncached(model, request->get().result.last(), std::vector<TokenId>{1, 2, 3});
  EXPECT_FALSE(request->cancel());
}

TEST(Evaluator, TakesBorrowedSequences) {
  Random random(6);
  const Model model = test::load_poisoned(random);
  Evaluator evaluator(model);
  Sequence sequence = evaluator.new_sequence();
  (void)evaluator.answer(ExtendRequest{borrow(sequence), {1, 2}});
  EXPECT_EQ(sequence.length(), 2U);
  const Sequence& prefix = sequence;
  EXPECT_EQ(evaluator.answer(EvaluateRequest{borrow(prefix), {{1}, {-1}}}).result.rows(), 1U);
}

TEST(Evaluator, RefusesOptionsThatLetNothingRun) {
  const Model model = Model::load(test::model_path("plain"));
  expect_error(ErrorCode::invalid_argument,
               "the evaluator's max_rows is 0 and max_tokens 2048; each must be at least 1",
               [&] { const Evaluator evaluator(model, {.max_rows = 0}); });
  expect_error(ErrorCode::invalid_argument, "max_rows is 64 and max_tokens 0",
               [&] { const Evaluator evaluator(model, {.max_tokens = 0}); });
}

TEST(Evaluator, OutputsBesideTheLogitsComeWithScores) {
  const Model model = Model::load(test::hidden_states_model_path("plain"));
  Evaluator evaluator(model);
  const auto sequence = share_text(model, {1, 2, 3});
  Sequence alone = model.new_sequence();
  const Logits expected = alone.extend(std::vector<TokenId>{1, 2, 3});
  const Scores scores = evaluator.answer(ScoreRequest{sequence, {{4}}, {"hidden_states"}}).result;
  expect_close(scores.output(0), expected.output("hidden_states", 0));
  const Scores only = evaluator.answer(ScoreRequest{sequence, {}, {"hidden_states"}}).result;
  EXPECT_EQ(only.size(), 0U);
  expect_close(only.output(0), expected.output("hidden_states", 0));
  expect_error(ErrorCode::invalid_argument, "output 1 was asked for, the request named 1",
               [&] { (void)only.output(1); });
  expect_error(ErrorCode::invalid_argument,
               "the score of continuation 0 was asked for, there are 0",
               [&] { (void)only.total(0); });
}

}  // namespace
}  // namespace kvcache
