// Two players against each other, colours alternating.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "search/player.hpp"
#include "selfplay/played_game.hpp"
#include "selfplay/workers.hpp"

namespace trigo {

struct MatchOptions {
  GameRules rules;
  GameNumbers games{0, 100};
  std::size_t threads = 1;  // a game each
  std::uint64_t seed = 0;
  bool trace = false;
};

/// Games of the first player.
struct MatchResult {
  std::size_t wins[2] = {0, 0};  // as Black, as White
  std::size_t losses[2] = {0, 0};
  std::size_t ties[2] = {0, 0};
  std::size_t moves = 0;
  double seconds = 0;

  [[nodiscard]] std::size_t games() const noexcept;
  [[nodiscard]] std::size_t won() const noexcept { return wins[0] + wins[1]; }
};

/// The first player is Black in games 0, 2, …. Games 0 and 1 begin with the same random opening, so
/// do 2 and 3, and so on: neither player gains by it. `make_players` is called in each thread and
/// returns both, the first one first.
MatchResult play_match(const MatchOptions& options,
                       const std::function<std::array<std::unique_ptr<Player>, 2>()>& make_players,
                       const std::function<void(const PlayedGame&)>& finished);

}  // namespace trigo
