// Players of a game, a thread each, that ask one model: their requests go into runs together.
// Usage: example_evaluator MODEL_DIR
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <kvcache/kvcache.hpp>
#include <memory>
#include <thread>
#include <vector>

namespace {

using kvcache::TokenId;

constexpr std::size_t kMoves = 6;

/// Every fifth token is a legal move here.
std::vector<std::vector<TokenId>> legal_moves(const kvcache::Model& model, TokenId player) {
  std::vector<std::vector<TokenId>> moves;
  const auto vocab_size = static_cast<TokenId>(model.info().vocab_size);
  for (TokenId token = player % vocab_size; token < vocab_size; token += 5) {
    moves.push_back({token});
  }
  return moves;
}

/// Plays the most probable move, again and again; the game's record.
std::vector<TokenId> play(kvcache::Evaluator& evaluator, TokenId player) {
  kvcache::EvaluatorClient client = evaluator.register_client();
  const auto game = std::make_shared<kvcache::Sequence>(evaluator.new_sequence());
  const auto moves = legal_moves(evaluator.model(), player);
  client.answer(kvcache::ExtendRequest{game, {player}});
  for (std::size_t i = 0; i < kMoves; ++i) {
    const kvcache::Scores scores = client.answer(kvcache::ScoreRequest{game, moves}).result;
    std::size_t best = 0;
    for (std::size_t move = 1; move < scores.size(); ++move) {
      best = scores.total(move) > scores.total(best) ? move : best;
    }
    client.answer(kvcache::ExtendRequest{game, moves[best]});
  }
  return {game->tokens().begin(), game->tokens().end()};
}

/// Whether each move of a game has the largest logit of all legal ones, computed without the
/// evaluator; a tie within rounding will do.
bool is_best_play(const kvcache::Model& model, const std::vector<TokenId>& game) {
  kvcache::Sequence sequence = model.new_sequence();
  for (std::size_t i = 0; i + 1 < game.size(); ++i) {
    const kvcache::Logits logits = sequence.extend({&game[i], 1});
    const auto logit = [&](TokenId token) {
      return logits.last()[static_cast<std::size_t>(token)];
    };
    float best = logit(game[i + 1]);
    for (const std::vector<TokenId>& move : legal_moves(model, game.front())) {
      best = std::max(best, logit(move.front()));
    }
    if (best - logit(game[i + 1]) > 1e-3F * std::max(1.0F, std::abs(best))) {
      return false;
    }
  }
  return true;
}

int run(const char* directory) {
  const kvcache::Model model = kvcache::Model::load(directory);
  kvcache::Evaluator evaluator(model);
  std::vector<std::vector<TokenId>> games(8);
  {
    std::vector<std::jthread> players;
    for (std::size_t i = 0; i < games.size(); ++i) {
      players.emplace_back([&, i] { games[i] = play(evaluator, static_cast<TokenId>(1 + i)); });
    }
  }
  bool all_best = true;
  for (const std::vector<TokenId>& game : games) {
    const bool best = is_best_play(model, game);
    all_best = all_best && best;
    std::printf("player %lld: %zu moves, %s\n", static_cast<long long>(game.front()),
                game.size() - 1, best ? "the best ones" : "NOT THE BEST ONES");
  }
  const kvcache::EvaluatorMetrics metrics = evaluator.metrics();
  std::printf("%llu requests in %llu runs\n", static_cast<unsigned long long>(metrics.answered),
              static_cast<unsigned long long>(metrics.runs));
  return all_best ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_evaluator MODEL_DIR\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvcache::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
