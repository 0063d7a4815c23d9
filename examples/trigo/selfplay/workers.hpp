// Games on several threads.
#pragma once

#include <cstddef>
#include <functional>

#include "selfplay/played_game.hpp"

namespace trigo {

/// Which games of an endless row of them: each is the same, whichever are played beside it.
struct GameNumbers {
  std::size_t first = 0;
  std::size_t count = 0;
};

/// Plays games on several threads. `make_worker` is called once in each thread and
/// returns what plays one game. `finished` is given the games in the order of their numbers, one at
/// a time, from any of the threads. What is thrown ends all threads; the first of it is thrown on.
void play_games(GameNumbers games, std::size_t threads,
                const std::function<std::function<PlayedGame(std::size_t)>()>& make_worker,
                const std::function<void(PlayedGame&&)>& finished);

}  // namespace trigo
