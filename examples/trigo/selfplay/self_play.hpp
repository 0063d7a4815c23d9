// Many games of one player with itself, measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "search/player.hpp"
#include "selfplay/played_game.hpp"
#include "selfplay/workers.hpp"

namespace trigo {

struct SelfPlayOptions {
  GameRules rules;
  GameNumbers games{0, 1};
  std::size_t threads = 1;  // a game each
  std::uint64_t seed = 0;
  bool trace = false;
};

/// What was played, and where the time went. Seconds of parts are those of all threads together.
struct SelfPlayResult {
  std::size_t games = 0;
  std::size_t moves = 0;
  std::size_t searches = 0;
  std::size_t evaluations = 0;  // of positions by the model, or rollouts
  std::size_t simulated = 0;    // positions that simulations reached, ends included
  std::size_t black_wins = 0;
  std::size_t white_wins = 0;
  std::uint64_t visit_hash = 0;  // of all searches, whatever thread made them
  double seconds = 0;            // from the first game's begin to the last one's end
  double game_seconds = 0;       // of all games together
  Stopwatch parts;

  /// Of a game's thread.
  [[nodiscard]] double ms_per_move() const noexcept;
  /// Share of the games' time that is neither the model's nor that of asking it.
  [[nodiscard]] double share_of_game_logic() const noexcept;
};

/// Plays the games; `make_player` is called in each thread, `finished` as in play_games().
SelfPlayResult self_play(const SelfPlayOptions& options,
                         const std::function<std::unique_ptr<Player>()>& make_player,
                         const std::function<void(const PlayedGame&)>& finished);

}  // namespace trigo
