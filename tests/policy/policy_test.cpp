// A policy's answers: those of the definition, computed from nothing, however it is asked.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "kvcache/kvcache.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"

namespace kvcache {
namespace {

using test::expect_error;
using test::Random;
using Move = std::vector<TokenId>;

/// Of log-probabilities, relative to theirs and 1, and of values.
/// Sums of several logits' logarithms. Asked for in tests only: the models may not be there before.
double tolerance_of_sums() { return 10 * test::tolerance(); }

Model load_with_value() {
  ModelOptions options;
  options.block_len = 4;
  options.poison_freed_blocks = true;
  return Model::load(test::model_path("value-head"), options);
}

/// log p(move | record), token by token, each from its own forward without a cache.
double log_probability(const Model& model, Move record, const Move& move) {
  double sum = 0;
  for (const TokenId token : move) {
    const Logits logits = model.forward_without_cache(record);
    double denominator = 0;
    for (const float logit : logits.last()) {
      denominator += std::exp(static_cast<double>(logit));
    }
    sum += logits.last()[static_cast<std::size_t>(token)] - std::log(denominator);
    record.push_back(token);
  }
  return sum;
}

double value_of(const Model& model, Move record) {
  record.push_back(SharedModelInferencer::kValueToken);
  return model.forward_without_cache(record).output("value", 0).front();
}

/// The same number computed in another way: the same bits where the model promises that.
template <typename Number>
void expect_same(const Model& model, Number found, Number expected) {
  if (model.invariant_results()) {
    EXPECT_EQ(found, expected);
  } else {
    EXPECT_NEAR(found, expected, tolerance_of_sums() * (1 + std::abs(expected)));
  }
}

void expect_scores(const Model& model, const Move& record, const std::vector<Move>& moves,
                   const MoveScores& found) {
  ASSERT_EQ(found.log_probabilities.size(), moves.size());
  ASSERT_EQ(found.priors.size(), moves.size());
  double total = 0;
  std::vector<double> expected;
  for (const Move& move : moves) {
    expected.push_back(log_probability(model, record, move));
    total += std::exp(expected.back());
  }
  for (std::size_t i = 0; i < moves.size(); ++i) {
    EXPECT_NEAR(found.log_probabilities[i], expected[i], tolerance_of_sums() * (1 - expected[i]));
    EXPECT_NEAR(found.priors[i], std::exp(expected[i]) / total, tolerance_of_sums());
  }
  EXPECT_NEAR(std::accumulate(found.priors.begin(), found.priors.end(), 0.0), 1, 1e-5);
  ASSERT_TRUE(found.value.has_value());
  EXPECT_NEAR(*found.value, value_of(model, record), tolerance_of_sums());
}

Move random_move(Random& random, const ModelInfo& info, std::int64_t most) {
  return test::random_tokens(random, info, random.integer(1, most));
}

/// Some of which begin alike, and some of which are the beginning of others.
std::vector<Move> random_moves(Random& random, const ModelInfo& info) {
  std::vector<Move> moves;
  for (std::int64_t i = random.integer(1, 8); i > 0; --i) {
    Move move = random_move(random, info, 3);
    if (!moves.empty() && random.chance(0.6)) {
      Move shared = random.pick(moves);
      shared.resize(
          static_cast<std::size_t>(random.integer(1, static_cast<std::int64_t>(shared.size()))));
      move.insert(move.begin(), shared.begin(), shared.end());
      move.resize(std::min<std::size_t>(move.size(), 4));
    }
    moves.push_back(move);
  }
  return moves;
}

TEST(NeuralPolicy, GivesTheDefinitionsNumbersThroughAGame) {
  test::for_random_cases(6, [](Random& random) {
    const Model model = load_with_value();
    const SharedModelInferencer inferencer(model);
    Move record = random_move(random, model.info(), 4);
    NeuralPolicy policy(inferencer, record);
    for (int position = 0; position < 6; ++position) {
      const std::vector<Move> moves = random_moves(random, model.info());
      expect_scores(model, record, moves, policy.evaluate(moves));
      EXPECT_EQ(policy.computed(), record.size());
      if (random.chance(0.3)) {
        record.resize(
            static_cast<std::size_t>(random.integer(1, static_cast<std::int64_t>(record.size()))));
        policy.take_back(record.size());
      } else {
        const Move played = random_move(random, model.info(), 5);
        policy.play(played);
        record.insert(record.end(), played.begin(), played.end());
      }
      ASSERT_TRUE(std::ranges::equal(policy.record(), record));
    }
    model.check_cache_invariants();
  });
}

TEST(NeuralPolicy, ComputesAnewWhatWasGivenBack) {
  if (test::models_dtype() != "float32") {
    GTEST_SKIP() << "the families' models are of float32";
  }
  ModelOptions options;
  options.block_len = 2;
  options.poison_freed_blocks = true;
  options.rewindable_tokens = 2;
  const Model model = Model::load(test::family_model_path("mistral-window"), options);
  const SharedModelInferencer inferencer(model);
  Random random(4);
  Move record = test::random_tokens(random, model.info(), 30);
  NeuralPolicy policy(inferencer, record);
  const std::vector<Move> moves{{1, 2}, {1, 3}, {4}};
  const auto expect_right_answers = [&] {
    const MoveScores found = policy.evaluate(moves, false);
    for (std::size_t i = 0; i < moves.size(); ++i) {
      EXPECT_NEAR(found.log_probabilities[i], log_probability(model, record, moves[i]), 1e-4);
    }
  };
  expect_right_answers();
  EXPECT_GT(policy.sequence().first_cached(), 0U);
  record.resize(12);
  policy.take_back(12);
  EXPECT_EQ(policy.computed(), 0U);
  expect_right_answers();
  policy.play(moves[1]);
  record.insert(record.end(), moves[1].begin(), moves[1].end());
  expect_right_answers();

  // So do prefixes that are asked for again and again.
  for (int twice = 0; twice < 2; ++twice) {
    const TokenTree tree{.tokens = {5}, .parents = {-1}};
    const std::vector<PolicyInput> batch{{record, &tree}};
    const std::vector<TreeEvaluation> answers = inferencer.policy_inference(batch);
    test::expect_as_uncached(model, answers.front().logits().row(0), record);
  }
}

TEST(NeuralPolicy, ForksGoTheirOwnWays) {
  Random random(3);
  const Model model = load_with_value();
  const SharedModelInferencer inferencer(model);
  const Move start{1, 40, 41, 42};
  NeuralPolicy one(inferencer, start);
  const std::vector<Move> moves{{50, 51}, {50, 52}, {60}};
  one.evaluate(moves);
  NeuralPolicy other = one.fork();
  one.play(moves[0]);
  other.play(moves[2]);
  expect_scores(model, {1, 40, 41, 42, 50, 51}, moves, one.evaluate(moves));
  expect_scores(model, {1, 40, 41, 42, 60}, moves, other.evaluate(moves));
}

TEST(NeuralPolicy, CostsTheNewTokensOnly) {
  const Model model = load_with_value();
  const SharedModelInferencer inferencer(model);
  const Move start(30, TokenId{7});
  NeuralPolicy policy(inferencer, start);
  const std::vector<Move> moves{{50, 51}, {52}};
  policy.evaluate(moves);
  policy.play(moves[0]);
  const PolicyQuestion question = policy.ask(moves);
  EXPECT_EQ(question.pending, 2U);
  EXPECT_EQ(question.tree.tokens,
            (std::vector<TokenId>{50, 51, 50, SharedModelInferencer::kValueToken}));
  EXPECT_EQ(question.nodes, (std::vector<std::size_t>{1, 2, 3}));
}

TEST(NeuralPolicy, WhatAllMovesBeginWithIsComputedOnce) {
  const Model model = load_with_value();
  const SharedModelInferencer inferencer(model);
  const Move start{1, 40, 41};
  const std::vector<Move> moves{{50, 51, 60}, {50, 51, 61, 62}, {50, 51, 60, 63}};
  NeuralPolicy policy(inferencer, start);
  const PolicyQuestion first = policy.ask(moves);
  EXPECT_EQ(first.common, 2U);
  policy.answer(first, policy.sequence().evaluate(first.tree, first.nodes));
  EXPECT_EQ(policy.computed(), 3U);
  EXPECT_EQ(policy.sequence().length(), 5U);
  NeuralPolicy other = policy.fork();
  policy.play(moves[1]);
  EXPECT_EQ(policy.computed(), 5U);
  EXPECT_EQ(policy.ask(moves).pending, 2U);
  expect_scores(model, {1, 40, 41, 50, 51, 61, 62}, moves, policy.evaluate(moves));
  // Asked again, and taken elsewhere: nothing of it is left.
  expect_scores(model, start, moves, other.evaluate(moves));
  other.play(Move{50, 70, 71});
  EXPECT_EQ(other.computed(), 4U);
  expect_scores(model, {1, 40, 41, 50, 70, 71}, moves, other.evaluate(moves));
  other.take_back(2);
  EXPECT_EQ(other.sequence().length(), 2U);
  expect_scores(model, {1, 40}, moves, other.evaluate(moves));
}

TEST(NeuralPolicy, ValueAndMovesMayBeAskedOneAfterTheOther) {
  const Model model = load_with_value();
  for (const CacheMode mode : {CacheMode::on, CacheMode::off}) {
    const SharedModelInferencer inferencer(model, mode);
    const std::vector<Move> moves{{50, 51, 60}, {50, 52}, {61}};
    NeuralPolicy policy(inferencer, Move{1, 40, 41});
    NeuralPolicy together = policy.fork();
    const MoveScores both = together.evaluate(moves);
    const MoveScores value = policy.evaluate({});
    expect_same(model, *value.value, *both.value);
    EXPECT_TRUE(value.priors.empty());
    EXPECT_TRUE(value.log_probabilities.empty());
    EXPECT_EQ(policy.computed(), mode == CacheMode::on ? 3U : 0U);
    const MoveScores priors = policy.evaluate(moves, false);
    for (std::size_t move = 0; move < moves.size(); ++move) {
      expect_same(model, priors.priors.at(move), both.priors.at(move));
      expect_same(model, priors.log_probabilities.at(move), both.log_probabilities.at(move));
    }
    EXPECT_FALSE(priors.value.has_value());
  }
  const SharedModelInferencer without(test::model_path("plain"));
  NeuralPolicy policy(without, Move{1, 2});
  const std::vector<Move> short_moves{{3}, {4}};
  const MoveScores once = policy.evaluate(short_moves);
  const MoveScores again = policy.evaluate(short_moves);
  for (std::size_t move = 0; move < short_moves.size(); ++move) {
    expect_same(without.model(), again.log_probabilities.at(move), once.log_probabilities.at(move));
  }
  expect_error(ErrorCode::invalid_argument, "the model has no output \"value\"",
               [&] { policy.evaluate({}); });
}

TEST(NeuralPolicy, WithoutACacheTheNumbersAreTheSame) {
  const Model model = load_with_value();
  const SharedModelInferencer off(model, CacheMode::off);
  EXPECT_EQ(off.cache_mode(), CacheMode::off);
  Move record(40, TokenId{9});
  record.back() = 3;
  NeuralPolicy policy(off, record);
  const std::vector<Move> moves{{50, 51}, {52}};
  for (int again = 0; again < 3; ++again) {
    expect_scores(model, record, moves, policy.evaluate(moves));
    EXPECT_EQ(policy.computed(), 0U);
  }
}

TEST(NeuralPolicy, RefusesWhatHasNoMeaning) {
  const Model model = load_with_value();
  const SharedModelInferencer inferencer(model);
  expect_error(ErrorCode::empty_input, "no tokens were given",
               [&] { NeuralPolicy(inferencer, Move{}); });
  expect_error(ErrorCode::token_out_of_range, "token 1 of the record is 128, must be in [0, 128)",
               [&] {
                 NeuralPolicy(inferencer, Move{1, 128});
               });
  NeuralPolicy policy(inferencer, Move{1, 2});
  const auto expect_unchanged = [&] { EXPECT_EQ(policy.record().size(), 2U); };
  expect_error(ErrorCode::empty_input, "no move was given, and no value is asked for",
               [&] { policy.evaluate({}, false); });
  expect_error(ErrorCode::empty_input, "a move without a token was given", [&] {
    policy.evaluate(std::vector<Move>{{1}, {}});
  });
  expect_error(ErrorCode::token_out_of_range, "must be in [0, 128)", [&] {
    policy.evaluate(std::vector<Move>{{1, -1, 2}});
  });
  expect_error(ErrorCode::token_out_of_range, "must be in [0, 128)", [&] {
    policy.evaluate(std::vector<Move>{{1, 500}});
  });
  expect_error(ErrorCode::invalid_argument, "cannot take back to 0 tokens, the record has 2",
               [&] { policy.take_back(0); });
  expect_error(ErrorCode::invalid_argument, "cannot take back to 3 tokens",
               [&] { policy.take_back(3); });
  expect_error(ErrorCode::context_full, "63 tokens do not fit: 2 of the model's 64 positions",
               [&] { policy.play(Move(63, TokenId{1})); });
  expect_unchanged();
  expect_scores(model, {1, 2}, {{5}}, policy.evaluate(std::vector<Move>{{5}}));
}

TEST(SharedModelInferencer, AnswersABatchAsEachAlone) {
  test::for_random_cases(6, [](Random& random) {
    const Model model = load_with_value();
    const SharedModelInferencer inferencer(model);
    // Longer than a block of 4: prefixes are known by whole blocks.
    const Move start = test::random_tokens(random, model.info(), random.integer(5, 10));
    for (int round = 0; round < 2; ++round) {  // the second finds what the first remembered
      std::vector<Move> prefixes;
      std::vector<TokenTree> trees;
      for (std::int64_t i = random.integer(1, 4); i > 0; --i) {
        Move prefix = start;
        const Move more = random_move(random, model.info(), 6);
        prefix.insert(prefix.end(), more.begin(), more.end());
        prefixes.push_back(prefix);
        trees.push_back({{5, 6, 7}, {-1, 0, -1}});
      }
      std::vector<PolicyInput> inputs;
      std::vector<std::span<const TokenId>> texts;
      for (std::size_t i = 0; i < prefixes.size(); ++i) {
        inputs.push_back({prefixes[i], &trees[i]});
        texts.emplace_back(prefixes[i]);
      }
      const std::vector<TreeEvaluation> found = inferencer.policy_inference(inputs);
      const std::vector<float> values = inferencer.value_inference(texts);
      for (std::size_t i = 0; i < prefixes.size(); ++i) {
        ASSERT_EQ(found[i].logits().rows(), 4U);
        test::expect_as_uncached(model, found[i].logits().row(0), prefixes[i]);
        Move text = prefixes[i];
        text.push_back(5);
        test::expect_as_uncached(model, found[i].logits().row(1), text);
        text.push_back(6);
        test::expect_as_uncached(model, found[i].logits().row(2), text);
        EXPECT_NEAR(values[i], value_of(model, prefixes[i]), tolerance_of_sums());
      }
    }
    EXPECT_GT(inferencer.prefix_stats().hits, 0U);
    model.check_cache_invariants();
  });
}

TEST(SharedModelInferencer, RefusesWhatHasNoMeaning) {
  const SharedModelInferencer without(test::model_path("plain"));
  const Move text{1, 2};
  const std::vector<std::span<const TokenId>> texts{text};
  EXPECT_FALSE(without.has_value());
  expect_error(ErrorCode::invalid_argument, "the model has no output \"value\"",
               [&] { (void)without.value_inference(texts); });
  const SharedModelInferencer inferencer(load_with_value());
  EXPECT_TRUE(inferencer.has_value());
  expect_error(ErrorCode::empty_input, "prefix 1 is empty", [&] {
    (void)inferencer.value_inference(std::vector<std::span<const TokenId>>{text, {}});
  });
  expect_error(ErrorCode::invalid_argument, "element 0 of the batch names no tree", [&] {
    (void)inferencer.policy_inference(std::vector<PolicyInput>{{text, nullptr}});
  });
}

}  // namespace
}  // namespace kvcache
