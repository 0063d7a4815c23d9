// A tree search guided by priors and values (PUCT), or by values alone (UCT).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "game/position.hpp"
#include "search/position_evaluator.hpp"
#include "search/random.hpp"
#include "search/stopwatch.hpp"

namespace trigo {

/// How a search chooses among moves whose values it does not know well yet.
enum class Selection {
  puct,  // mean + c · prior · √(visits of the position) / (1 + visits of the move)
  uct,   // mean + c · √(ln(visits of the position) / visits of the move); each move once before
};

struct SearchOptions {
  std::size_t simulations = 50;  // of each search, beside the visits that were kept
  Selection selection = Selection::puct;
  double exploration = 1.5;  // c
  /// A move without a visit counts as the position's mean less this, times the square root of the
  /// priors that were visited: the more of what seems good is known, the less is expected
  /// elsewhere.
  double first_play_reduction = 0.2;
  /// Share of the root's priors that is Dirichlet noise; 0: none.
  double noise = 0;
  /// Its concentration; 0: 10 over the number of legal moves.
  double noise_concentration = 0;
};

struct SearchNode;

/// A move of a position, and what is known of it.
struct SearchEdge {
  Move move;
  float prior = 0;
  std::uint32_t visits = 0;
  double total = 0;  // of the values backed up, for White
  std::unique_ptr<SearchNode> child;
};

/// A position of the tree.
struct SearchNode {
  double value = 0;  // for White: the evaluator's, or the end's
  bool end = false;
  std::uint32_t visits = 0;       // its own evaluation and those of its edges
  double total = 0;               // of the values backed up, its own included, for White
  std::vector<SearchEdge> edges;  // none yet where priors are asked for when they are needed
  std::unique_ptr<KeptPosition> kept;
  EvaluationCost cost;

  [[nodiscard]] double mean() const noexcept { return visits == 0 ? 0 : total / visits; }
};

/// Searches the positions of one game, one after the other; what a search learnt of the move that
/// is then played is kept, the rest dropped. All values are White's; each colour chooses by its own
/// sign. Same seed, same evaluations: same visits.
class TreeSearch {
 public:
  TreeSearch(PositionEvaluator& evaluator, const SearchOptions& options, Stopwatch& stopwatch);

  /// Begins a game.
  void start(const Shape& shape, std::uint64_t seed);

  [[nodiscard]] const Position& position() const noexcept { return position_; }

  /// Runs `options.simulations` simulations more from the current position, which must not have
  /// ended. The root it returns has an edge for each legal move, in their order, and is valid until
  /// play() or start().
  /// @throws kvcache::Error as the evaluator; the tree is then as the last simulation left it
  const SearchNode& search();

  /// Plays a legal move of whoever is to move.
  void play(Move move);

  /// Positions of this game that were evaluated, not counting ends.
  [[nodiscard]] std::size_t evaluations() const noexcept { return evaluations_; }
  /// Nodes that were visited by simulations, ends included.
  [[nodiscard]] std::size_t simulated() const noexcept { return simulated_; }

 private:
  void evaluate_root();
  void simulate();
  /// Plays the moves of path_ that were not played on walked_ yet.
  void walk();
  void add_child(const SearchNode& node, SearchEdge& edge);
  void evaluate(SearchNode& node, const KeptPosition* before, std::string_view text,
                const Position& position);
  void add_edges(SearchNode& node, std::span<const float> priors) const;
  void expand(SearchNode& node, const Position& position);
  [[nodiscard]] SearchEdge& choose(SearchNode& node, Colour colour) const;
  void add_noise();

  PositionEvaluator& evaluator_;
  SearchOptions options_;
  Stopwatch& stopwatch_;
  Random random_{0};
  Position position_;
  std::unique_ptr<SearchNode> root_;      // null: not evaluated
  std::unique_ptr<KeptPosition> before_;  // then: of an earlier position, or null
  std::string text_;                      // then: what the text grew by since
  std::vector<float> root_priors_;        // with noise
  // Of one simulation, kept for their memory.
  Position walked_;
  std::size_t walked_moves_ = 0;  // of path_
  std::vector<SearchEdge*> path_;
  std::vector<Move> moves_;
  std::size_t evaluations_ = 0;
  std::size_t simulated_ = 0;
};

}  // namespace trigo
