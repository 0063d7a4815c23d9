// Games on several threads.
#pragma once

#include <cstddef>
#include <functional>

#include "selfplay/played_game.hpp"

namespace trigo {

/// Plays games number 0, 1, … on several threads. `make_worker` is called once in each thread and
/// returns what plays one game. `finished` is given the games in the order of their numbers, one at
/// a time, from any of the threads. What is thrown ends all threads; the first of it is thrown on.
void play_games(std::size_t games, std::size_t threads,
                const std::function<std::function<PlayedGame(std::size_t)>()>& make_worker,
                const std::function<void(PlayedGame&&)>& finished);

}  // namespace trigo
