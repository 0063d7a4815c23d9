#include "selfplay/played_game.hpp"

#include "game/score.hpp"
#include "program/interrupt.hpp"
#include "search/random.hpp"
#include "search/rollout.hpp"
#include "search/visits.hpp"

namespace trigo {
namespace {

using Seconds = Stopwatch::Seconds;

constexpr std::uint64_t kOpening = 2;  // numbers of what a game's seed is divided among: 0 and 1
                                       // are the players'

SearchRecord record_of(const SearchNode& root, std::size_t ply) {
  SearchRecord record;
  record.ply = ply;
  record.value = root.mean();
  for (const SearchEdge& edge : root.edges) {
    record.moves.push_back(edge.move);
    record.visits.push_back(edge.visits);
  }
  return record;
}

class Playing {
 public:
  Playing(const std::array<Player*, 2>& players, const GameRules& rules, PlayedGame& game)
      : players_(players), rules_(rules), game_(game), position_(rules.shape) {
    players_[0]->start(rules.shape, seed_of(game.seed, 0));
    if (players_[1] != players_[0]) {
      players_[1]->start(rules.shape, seed_of(game.seed, 1));
    }
  }

  [[nodiscard]] bool goes_on() const {
    return !position_.ended() && !is_settled(position_.board()) &&
           position_.moves() < rules_.max_moves;
  }

  void play(Move move) {
    position_.play(move);
    game_.moves.push_back(move);
    players_[0]->played(move);
    if (players_[1] != players_[0]) {
      players_[1]->played(move);
    }
  }

  void play_opening() {
    Random random(seed_of(game_.seed, kOpening));
    std::vector<Point> scratch;
    while (goes_on() && position_.moves() < rules_.opening) {
      play(random_move(position_, random, scratch));
    }
  }

  void play_move(const std::function<std::string(const FinishedSearch&)>& observe) {
    kvcache::cli::throw_if_interrupted();
    Player& player = *players_[position_.moves() % 2];
    const auto begin = Stopwatch::Clock::now();
    const Move move = player.choose();
    const Seconds time = Stopwatch::Clock::now() - begin;
    if (const SearchNode* root = player.last_search()) {
      if (observe) {
        game_.trace += observe({game_, *root, move, time.count()});
      }
      game_.visit_hash = visit_hash(*root, game_.visit_hash);
      game_.searches.push_back(record_of(*root, position_.moves()));
    }
    play(move);
  }

  void finish() {
    game_.difference = area(position_.board()).difference();
    for (std::size_t i = 0; i < (players_[1] == players_[0] ? 1U : 2U); ++i) {
      game_.evaluations += players_[i]->evaluations();
      game_.simulated += players_[i]->simulated();
      if (const Stopwatch* stopwatch = players_[i]->stopwatch()) {
        game_.parts.add(*stopwatch);
      }
    }
  }

 private:
  std::array<Player*, 2> players_;
  const GameRules& rules_;
  PlayedGame& game_;
  Position position_;
};

}  // namespace

PlayedGame play_game(const std::array<Player*, 2>& players, const GameRules& rules,
                     std::size_t number, std::uint64_t seed,
                     const std::function<std::string(const FinishedSearch&)>& observe) {
  PlayedGame game;
  game.number = number;
  game.seed = seed;
  game.shape = rules.shape;
  const auto begin = Stopwatch::Clock::now();
  Playing playing(players, rules, game);
  playing.play_opening();
  while (playing.goes_on()) {
    playing.play_move(observe);
  }
  playing.finish();
  game.seconds = Seconds(Stopwatch::Clock::now() - begin).count();
  return game;
}

}  // namespace trigo
