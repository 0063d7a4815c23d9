// Positions asked of a model: the text's own numbers, with and without a cache.
#include "search/neural_evaluator.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <thread>

#include "games.hpp"
#include "search/player.hpp"
#include "search/shared_evaluator.hpp"
#include "selfplay/played_game.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"

namespace trigo::test::neural_evaluator_test {
namespace {

using kvcache::CacheMode;
using kvcache::ErrorCode;
using kvcache::SharedModelInferencer;
using kvcache::TokenId;
using kvcache::test::expect_error;
using kvcache::test::for_random_cases;

constexpr Shape kThree{3, 3, 1};
constexpr Shape kRow{7, 1, 1};  // one letter a move: the model has 64 positions

kvcache::Model load_model() {
  kvcache::ModelOptions options;
  options.require_device = kvcache::Device::cpu;  // where the same bits are promised
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
    const TokenId token = static_cast<unsigned char>(letter);
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
  explicit LessSure(std::unique_ptr<PositionEvaluator> evaluator)
      : evaluator_(std::move(evaluator)) {}

  Evaluation evaluate(const KeptPosition* before, std::string_view text, const Position& position,
                      std::span<const Move> moves, Stopwatch& stopwatch) override {
    Evaluation evaluation = evaluator_->evaluate(before, text, position, moves, stopwatch);
    make_less_sure(evaluation.priors);
    return evaluation;
  }
  void rest() noexcept override { evaluator_->rest(); }
  [[nodiscard]] bool priors_when_needed() const noexcept override {
    return evaluator_->priors_when_needed();
  }
  std::vector<float> priors(KeptPosition& kept, const Position& position,
                            std::span<const Move> moves, EvaluationCost& cost,
                            Stopwatch& stopwatch) override {
    auto found = evaluator_->priors(kept, position, moves, cost, stopwatch);
    make_less_sure(found);
    return found;
  }

 private:
  static void make_less_sure(std::vector<float>& priors) {
    for (float& prior : priors) {
      prior = (prior + 3 / static_cast<float>(priors.size())) / 4;
    }
  }

  std::unique_ptr<PositionEvaluator> evaluator_;
};

/// A short game of searches.
PlayedGame play(std::unique_ptr<PositionEvaluator> evaluator, std::size_t number,
                std::uint64_t seed) {
  SearchOptions options;
  options.simulations = 12;
  options.noise = 0.25;
  options.exploration = 4;
  SearchPlayer player(std::make_unique<LessSure>(std::move(evaluator)), options, {1, 4});
  return play_game({&player, &player}, {kRow, 4, 0}, number, seed_of(seed, number));
}

void expect_same(const PlayedGame& found, const PlayedGame& expected) {
  EXPECT_EQ(found.moves, expected.moves);
  ASSERT_EQ(found.searches.size(), expected.searches.size());
  EXPECT_GE(found.searches.size(), 2U);
  for (std::size_t ply = 0; ply < expected.searches.size(); ++ply) {
    EXPECT_EQ(found.searches[ply].visits, expected.searches[ply].visits);
    EXPECT_EQ(found.searches[ply].value, expected.searches[ply].value);
  }
  EXPECT_EQ(found.visit_hash, expected.visit_hash);
  EXPECT_NE(found.visit_hash, 0U);
}

std::unique_ptr<PositionEvaluator> direct(const kvcache::Model& model, CacheMode mode,
                                          bool priors_when_needed = false) {
  return std::make_unique<DirectEvaluator>(SharedModelInferencer(model, mode), priors_when_needed);
}

TEST(TrigoNeuralEvaluator, PriorsMayComeWhenTheyAreNeeded) {
  const kvcache::Model model = load_model();
  DirectEvaluator at_once{SharedModelInferencer(model)};
  DirectEvaluator later(SharedModelInferencer(model), true);
  EXPECT_FALSE(at_once.priors_when_needed());
  EXPECT_TRUE(later.priors_when_needed());
  Stopwatch stopwatch;
  const Position position(kThree);
  const auto moves = position.legal_moves();
  const std::string text = header_text(kThree);
  const Evaluation both = at_once.evaluate(nullptr, text, position, moves, stopwatch);
  const Evaluation value = later.evaluate(nullptr, text, position, {}, stopwatch);
  EXPECT_EQ(value.value, both.value);
  EXPECT_TRUE(value.priors.empty());
  EXPECT_EQ(value.cost.tokens_computed, 14U + 1);
  EvaluationCost cost = value.cost;
  EXPECT_EQ(later.priors(*value.kept, position, moves, cost, stopwatch), both.priors);
  // The text's last token once more, "1. ", three letters and "Pas".
  EXPECT_EQ(cost.tokens_computed, 15U + 1 + 3 + 3 + 3);
}

TEST(TrigoNeuralEvaluator, WithAndWithoutACacheTheVisitsAreTheSame) {
  const kvcache::Model model = load_model();
  for_random_cases(10, [&](kvcache::test::Random& random) {
    const auto seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
    const PlayedGame fresh = play(direct(model, CacheMode::off), 0, seed);
    expect_same(play(direct(model, CacheMode::on), 0, seed), fresh);
    expect_same(play(direct(model, CacheMode::on, true), 0, seed), fresh);
    expect_same(play(direct(model, CacheMode::off, true), 0, seed), fresh);
  });
  model.check_cache_invariants();
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
}

TEST(TrigoSharedEvaluator, ManyGamesAtOnceAreWhatEachIsAlone) {
  const kvcache::Model model = load_model();
  constexpr std::size_t kGames = 6;
  kvcache::EvaluatorOptions options;
  options.max_delay = std::chrono::seconds(10);  // a run begins when all games wait for it
  for_random_cases(3, [&](kvcache::test::Random& random) {
    const auto seed = static_cast<std::uint64_t>(random.integer(0, 1'000'000));
    std::vector<PlayedGame> together(kGames);
    kvcache::Evaluator evaluator(model, options);
    // Runs wait for a client that asks nothing, until all games have asked for the first time.
    std::optional<kvcache::EvaluatorClient> holds_back(evaluator.register_client());
    {
      std::vector<std::jthread> threads;
      for (std::size_t number = 0; number < kGames; ++number) {
        threads.emplace_back([&, number] {
          together[number] = play(std::make_unique<SharedEvaluator>(SharedModelInferencer(model),
                                                                    evaluator, number % 2 == 0),
                                  number, seed);
        });
      }
      while (evaluator.metrics().waiting < kGames) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      holds_back.reset();
    }
    for (std::size_t number = 0; number < kGames; ++number) {
      expect_same(together[number], play(direct(model, CacheMode::on), number, seed));
    }
    const kvcache::EvaluatorMetrics metrics = evaluator.metrics();
    EXPECT_EQ(metrics.failed, 0U);
    EXPECT_LE(metrics.runs + kGames - 1, metrics.answered);  // the first run had all games
  });
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
}  // namespace trigo::test::neural_evaluator_test
