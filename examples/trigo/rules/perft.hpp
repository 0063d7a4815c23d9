// How many games there are: the classical check of a move generator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "game/position.hpp"

namespace trigo {

/// Element d − 1 is the number of sequences of d legal moves from `from`, passes included, for d
/// from 1 to `depth`. A game that ended has no further ones.
std::vector<std::uint64_t> perft(const Position& from, std::size_t depth);

}  // namespace trigo
