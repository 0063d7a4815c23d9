#include "selfplay/match.hpp"

#include <utility>

#include "search/random.hpp"
#include "selfplay/records.hpp"

namespace trigo {

std::size_t MatchResult::games() const noexcept {
  return won() + losses[0] + losses[1] + ties[0] + ties[1];
}

MatchResult play_match(const MatchOptions& options,
                       const std::function<std::array<std::unique_ptr<Player>, 2>()>& make_players,
                       const std::function<void(const PlayedGame&)>& finished) {
  std::function<std::string(const FinishedSearch&)> observe;
  if (options.trace) {
    observe = trace_line;
  }
  const auto make_worker = [&]() -> std::function<PlayedGame(std::size_t)> {
    const std::shared_ptr<std::array<std::unique_ptr<Player>, 2>> both =
        std::make_shared<std::array<std::unique_ptr<Player>, 2>>(make_players());
    return [&, both](std::size_t number) {
      Player* const first = both->front().get();
      Player* const second = both->back().get();
      const bool first_is_black = number % 2 == 0;
      return play_game({first_is_black ? first : second, first_is_black ? second : first},
                       options.rules, number, seed_of(options.seed, number / 2), observe);
    };
  };
  MatchResult result;
  const auto begin = Stopwatch::Clock::now();
  play_games(options.games, options.threads, make_worker, [&](PlayedGame&& game) {
    const std::size_t colour = game.number % 2;
    const int lead = colour == 0 ? -game.difference : game.difference;
    auto& count = lead > 0 ? result.wins : lead < 0 ? result.losses : result.ties;
    ++count[colour];
    result.moves += game.moves.size();
    finished(game);
  });
  result.seconds = Stopwatch::Seconds(Stopwatch::Clock::now() - begin).count();
  return result;
}

}  // namespace trigo
