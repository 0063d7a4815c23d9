// Positions asked of a model: the text's own numbers, with and without a cache.
#include "search/neural_evaluator.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "games.hpp"
#include "search/player.hpp"
#include "selfplay/played_game.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"

namespace trigo {
namespace {

using kvcache::CacheMode;
using kvcache::ErrorCode;
using kvcache::SharedModelInferencer;
using kvcache::TokenId;
using kvcache::test::expect_error;
using kvcache::test::for_random_cases;

const Shape kThree{3, 3, 1};
const Shape kRow{7, 1, 1};  // one letter a move: the model has 64 positions

kvcache::Model load_model() {
  kvcache::ModelOptions options;
  options.num_threads = 1;
  options.block_len = 4;
  options.poison_freed_blocks = true;
  return kvcache::Model::load(kvcache::test::model_path("value-head"), options);
}

std::vector<TokenId> tokens_of(const std::string& text) {
  std::vector<TokenId> tokens{1};
  tokens.insert(tokens.end(), text.begin(), text.end());
  return tokens;
}

double log_probability(const kvcache::Model& model, std::string text, const std::string& more) {
  double sum = 0;
  for (const char letter : more) {
    const TokenId token = letter;
    sum += model.forward_without_cache(tokens_of(text))
               .log_probabilities(std::span(&token, 1), 0)
               .front();
    text += letter;
  }
  return sum;
}

TEST(TrigoNeuralEvaluator, PriorsFollowTheNumberAndTheValueTheLastMove) {
  const kvcache::Model model = load_model();
  DirectEvaluator evaluator{SharedModelInferencer(model)};
  Stopwatch stopwatch;
  for (const char* words : {"", "aa", "aa zz"}) {
    const auto played = test::moves_of(kThree, words);
    const Position position = test::position_after(kThree, words);
    const std::string text = game_text(kThree, played, {});
    const auto moves = position.legal_moves();
    const Evaluation found = evaluator.evaluate(nullptr, text, position, moves, stopwatch);
    std::vector<TokenId> value_tokens = tokens_of(text);
    value_tokens.push_back(3);
    EXPECT_NEAR(found.value, model.forward_without_cache(value_tokens).output("value", 0).front(),
                1e-4);
    const std::string numbered = text + number_text(played.size());
    double sum = 0;
    std::vector<double> expected;
    for (const Move move : moves) {
      expected.push_back(std::exp(log_probability(model, numbered, move_text(kThree, move))));
      sum += expected.back();
    }
    ASSERT_EQ(found.priors.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(found.priors[i], expected[i] / sum, 1e-4);
    }
  }
}

TEST(TrigoNeuralEvaluator, AKeptPositionCostsItsNewTokens) {
  const kvcache::Model model = load_model();
  DirectEvaluator evaluator{SharedModelInferencer(model)};
  Stopwatch stopwatch;
  const Position first = test::position_after(kThree, "");
  const auto moves = first.legal_moves();
  const Evaluation root = evaluator.evaluate(nullptr, header_text(kThree), first, moves, stopwatch);
  // START and the header; "1. ", three letters, "Pas" and the value token.
  EXPECT_EQ(root.cost.tokens_computed, 14U + 3 + 3 + 3 + 1);
  EXPECT_EQ(root.cost.tokens_reused, 0U);
  const Position second = test::position_after(kThree, "aa");
  const auto replies = second.legal_moves();
  const Evaluation child =
      evaluator.evaluate(root.kept.get(), "1. aa ", second, replies, stopwatch);
  EXPECT_EQ(child.cost.tokens_reused, 14U + 3);  // "1. ", which all first moves begin with
  EXPECT_EQ(child.cost.tokens_computed, 3U + 3 + 3 + 1);
  EXPECT_EQ(child.cost.blocks_shared, 4U);  // of 4 tokens
  EXPECT_EQ(child.cost.blocks_own, 1U);
  const Evaluation fresh =
      evaluator.evaluate(nullptr, header_text(kThree) + "1. aa ", second, replies, stopwatch);
  EXPECT_EQ(fresh.value, child.value);
  EXPECT_EQ(fresh.priors, child.priors);
}

/// The tiny model is so sure of its moves that a search would be one long line, longer than the
/// model's positions: this one is less sure.
class LessSure final : public PositionEvaluator {
 public:
  explicit LessSure(const SharedModelInferencer& inferencer) : evaluator_(inferencer) {}

  Evaluation evaluate(const KeptPosition* before, std::string_view text, const Position& position,
                      std::span<const Move> moves, Stopwatch& stopwatch) override {
    Evaluation evaluation = evaluator_.evaluate(before, text, position, moves, stopwatch);
    for (float& prior : evaluation.priors) {
      prior = (prior + 3 / static_cast<float>(moves.size())) / 4;
    }
    return evaluation;
  }

 private:
  DirectEvaluator evaluator_;
};

/// Three games of four searches each, cut short; the moves and all visits.
std::vector<PlayedGame> play(const kvcache::Model& model, CacheMode mode, std::uint64_t seed) {
  SearchOptions options;
  options.simulations = 12;
  options.noise = 0.25;
  options.exploration = 4;
  SearchPlayer player(std::make_unique<LessSure>(SharedModelInferencer(model, mode)), options,
                      {1, 4});
  std::vector<PlayedGame> games;
  for (std::size_t number = 0; number < 3; ++number) {
    games.push_back(play_game({&player, &player}, {kRow, 4, 0}, number, seed_of(seed, number)));
  }
  return games;
}

TEST(TrigoNeuralEvaluator, WithAndWithoutACacheTheVisitsAreTheSame) {
  const kvcache::Model model = load_model();
  for_random_cases(3, [&](kvcache::test::Random& random) {
    const auto seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
    const auto cached = play(model, CacheMode::on, seed);
    const auto fresh = play(model, CacheMode::off, seed);
    for (std::size_t game = 0; game < cached.size(); ++game) {
      EXPECT_EQ(cached[game].moves, fresh[game].moves);
      ASSERT_EQ(cached[game].searches.size(), fresh[game].searches.size());
      EXPECT_GE(cached[game].searches.size(), 2U);
      for (std::size_t ply = 0; ply < cached[game].searches.size(); ++ply) {
        EXPECT_EQ(cached[game].searches[ply].visits, fresh[game].searches[ply].visits);
        EXPECT_EQ(cached[game].searches[ply].value, fresh[game].searches[ply].value);
      }
      EXPECT_EQ(cached[game].visit_hash, fresh[game].visit_hash);
      EXPECT_NE(cached[game].visit_hash, 0U);
    }
  });
  model.check_cache_invariants();
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
}

TEST(TrigoNeuralEvaluator, OtherModelsAreRefused) {
  const auto load = [](const char* name) {
    return SharedModelInferencer(kvcache::test::model_path(name));
  };
  expect_error(ErrorCode::invalid_argument, "export a checkpoint of a Trigo model",
               [&] { DirectEvaluator evaluator(load("plain")); });
}

TEST(TrigoNeuralEvaluator, AGameThatOutgrowsTheModelIsToldSo) {
  const kvcache::Model model = load_model();
  SearchOptions options;
  options.simulations = 4;
  SearchPlayer player(std::make_unique<DirectEvaluator>(SharedModelInferencer(model)), options, {});
  expect_error(ErrorCode::context_full, "the model's 64 positions", [&] {
    play_game({&player, &player}, {{5, 5, 1}, 100, 0}, 0, 1);
  });
}

}  // namespace
}  // namespace trigo
