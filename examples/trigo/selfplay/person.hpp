// A game between a person at the terminal and a player.
#pragma once

#include <iosfwd>

#include "search/player.hpp"
#include "selfplay/played_game.hpp"

namespace trigo {

/// Draws the board, asks for the person's moves and answers them until the game ends, the person
/// writes "quit" or there is no more input. Of the opponent's searches the moves it thought of most
/// are told.
PlayedGame play_with_person(Player& opponent, Colour person, const GameRules& rules,
                            std::uint64_t seed, std::istream& in, std::ostream& out);

}  // namespace trigo
