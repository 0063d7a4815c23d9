#include "search/visits.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace trigo {

std::uint64_t visit_hash(const SearchNode& root, std::uint64_t hash) noexcept {
  const auto add = [&](std::uint64_t number) {  // FNV-1a, a number at a time
    hash = (hash ^ number) * 0x100000001B3U;
  };
  for (const SearchEdge& edge : root.edges) {
    add(edge.move.point);
    add(edge.visits);
  }
  return hash;
}

Move choose_by_visits(const SearchNode& root, double temperature, Random& random) {
  const auto most = std::ranges::max_element(root.edges, [](const auto& a, const auto& b) {
    return std::pair(a.visits, a.prior) < std::pair(b.visits, b.prior);
  });
  if (temperature <= 0 || most->visits == 0) {
    return most->move;
  }
  // Relative to the largest, so that no power overflows.
  std::vector<double> weights;
  double sum = 0;
  for (const SearchEdge& edge : root.edges) {
    weights.push_back(std::pow(static_cast<double>(edge.visits) / most->visits, 1 / temperature));
    sum += weights.back();
  }
  double left = random.uniform() * sum;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0 && weights[i] > 0) {
      return root.edges[i].move;
    }
  }
  return most->move;
}

}  // namespace trigo
