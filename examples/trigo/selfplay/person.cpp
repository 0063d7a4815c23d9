#include "selfplay/person.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "game/drawing.hpp"
#include "game/notation.hpp"
#include "game/score.hpp"
#include "kvcache/error.hpp"
#include "program/interrupt.hpp"

namespace trigo {
namespace {

constexpr std::size_t kToldMoves = 3;

std::string name_of(Colour colour) { return colour == Colour::black ? "Black (X)" : "White (O)"; }

std::string outcome(const Board& board) {
  const Area owned = area(board);
  const int difference = owned.difference();
  return fmt::format("Black {}, White {}: {}", owned.black, owned.white,
                     difference == 0
                         ? std::string("a tie")
                         : fmt::format("{} leads by {}", difference < 0 ? "Black" : "White",
                                       std::abs(difference)));
}

/// A word of the person's: a legal move, or nothing where the game is to be left.
std::optional<Move> ask(const Position& position, std::istream& in, std::ostream& out) {
  for (;;) {
    out << name_of(position.to_move()) << ", a move (such as "
        << move_text(position.shape(), position.legal_moves().front())
        << ", Pass or quit): " << std::flush;
    std::string word;
    if (!(in >> word) || word == "quit") {
      kvcache::cli::throw_if_interrupted();
      return std::nullopt;
    }
    try {
      const Move move = parse_move(position.shape(), word == "pass" ? "Pass" : word);
      if (position.is_legal(move)) {
        return move;
      }
      out << word << " is illegal: " << position.why_illegal(move) << ".\n";
    } catch (const kvcache::Error& error) {
      out << error.what() << ".\n";
    }
  }
}

/// "aa (23 visits, expects +0.31 for White), …" of the moves that were visited most.
std::string thoughts(const SearchNode& root, const Shape& shape) {
  std::vector<const SearchEdge*> edges;
  for (const SearchEdge& edge : root.edges) {
    edges.push_back(&edge);
  }
  std::ranges::stable_sort(edges, std::greater<>(), &SearchEdge::visits);
  edges.resize(std::min(edges.size(), kToldMoves));
  std::string text;
  for (const SearchEdge* edge : edges) {
    if (edge->visits > 0) {
      text += fmt::format("{}{} ({} visits, expects {:+.2f} for White)", text.empty() ? "" : ", ",
                          move_text(shape, edge->move), edge->visits, edge->total / edge->visits);
    }
  }
  return text;
}

}  // namespace

PlayedGame play_with_person(Player& opponent, Colour person, const GameRules& rules,
                            std::uint64_t seed, std::istream& in, std::ostream& out) {
  PlayedGame game;
  game.seed = seed;
  game.shape = rules.shape;
  Position position(rules.shape);
  opponent.start(rules.shape, seed);
  std::optional<Move> last;
  while (!position.ended() && position.moves() < rules.max_moves) {
    out << '\n' << drawing(position.board(), last) << '\n';
    if (position.to_move() == person) {
      last = ask(position, in, out);
      if (!last) {
        break;
      }
    } else {
      kvcache::cli::throw_if_interrupted();
      last = opponent.choose();
      out << name_of(position.to_move()) << " plays " << move_text(rules.shape, *last);
      if (const SearchNode* root = opponent.last_search()) {
        out << "; thought of " << thoughts(*root, rules.shape);
      }
      out << '\n';
    }
    position.play(*last);
    opponent.played(*last);
    game.moves.push_back(*last);
  }
  game.difference = area(position.board()).difference();
  out << '\n' << drawing(position.board(), last) << '\n' << outcome(position.board()) << '\n';
  return game;
}

}  // namespace trigo
