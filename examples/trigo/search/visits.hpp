// What is made of a search's visits.
#pragma once

#include <cstdint>

#include "search/random.hpp"
#include "search/tree_search.hpp"

namespace trigo {

/// The visits of all simulations of a search as one number, to compare searches by.
std::uint64_t visit_hash(const SearchNode& root, std::uint64_t hash) noexcept;

/// Chooses a move by its visits: in proportion to visits^(1/temperature), or the one with the most
/// where that is 0. Of equal ones the one with the largest prior, then the first.
Move choose_by_visits(const SearchNode& root, double temperature, Random& random);

}  // namespace trigo
