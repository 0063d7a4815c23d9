#include "selfplay/self_play.hpp"

#include <utility>

#include "search/random.hpp"
#include "selfplay/records.hpp"

namespace trigo {

double SelfPlayResult::ms_per_move() const noexcept {
  return moves == 0 ? 0 : game_seconds * 1e3 / static_cast<double>(moves);
}

double SelfPlayResult::share_of_game_logic() const noexcept {
  const double model = (parts.of(Part::model) + parts.of(Part::policy)).count();
  return game_seconds == 0 ? 0 : 1 - model / game_seconds;
}

SelfPlayResult self_play(const SelfPlayOptions& options,
                         const std::function<std::unique_ptr<Player>()>& make_player,
                         const std::function<void(const PlayedGame&)>& finished) {
  SelfPlayResult result;
  std::function<std::string(const FinishedSearch&)> observe;
  if (options.trace) {
    observe = trace_line;
  }
  const auto make_worker = [&]() -> std::function<PlayedGame(std::size_t)> {
    const std::shared_ptr<Player> player = make_player();
    return [&, player](std::size_t number) {
      return play_game({player.get(), player.get()}, options.rules, number,
                       seed_of(options.seed, number), observe);
    };
  };
  const auto begin = Stopwatch::Clock::now();
  play_games(options.games, options.threads, make_worker, [&](PlayedGame&& game) {
    ++result.games;
    result.moves += game.moves.size();
    result.searches += game.searches.size();
    result.evaluations += game.evaluations;
    result.simulated += game.simulated;
    result.parts.add(game.parts);
    result.game_seconds += game.seconds;
    result.black_wins += game.difference < 0 ? 1U : 0U;
    result.white_wins += game.difference > 0 ? 1U : 0U;
    result.visit_hash = result.visit_hash * 31 + game.visit_hash;
    finished(game);
  });
  result.seconds = Stopwatch::Seconds(Stopwatch::Clock::now() - begin).count();
  return result;
}

}  // namespace trigo
