#include "rules/perft.hpp"

namespace trigo {
namespace {

void count(const Position& position, std::vector<std::uint64_t>& counts, std::size_t at) {
  const std::vector<Move> moves = position.legal_moves();
  counts[at] += moves.size();
  if (at + 1 == counts.size()) {
    return;
  }
  for (const Move move : moves) {
    Position next = position;
    next.play(move);
    count(next, counts, at + 1);
  }
}

}  // namespace

std::vector<std::uint64_t> perft(const Position& from, std::size_t depth) {
  std::vector<std::uint64_t> counts(depth);
  if (depth > 0) {
    count(from, counts, 0);
  }
  return counts;
}

}  // namespace trigo
