// Who plays a game: a search, or chance.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "game/position.hpp"
#include "search/tree_search.hpp"

namespace trigo {

/// How a search's player turns visits into a move.
struct MoveChoice {
  double temperature = 0;  // of the first moves of a game; 0: the most visited move
  std::size_t moves = 0;   // how many these are, of both colours together
};

/// Follows a game and chooses moves in it.
class Player {
 public:
  Player() = default;
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;
  virtual ~Player() = default;

  /// Begins a game.
  virtual void start(const Shape& shape, std::uint64_t seed) = 0;
  /// A move for the current position, which has not ended.
  virtual Move choose() = 0;
  /// Somebody's legal move was played.
  virtual void played(Move move) = 0;

  /// The search behind the last choice; null of a player that has none.
  [[nodiscard]] virtual const SearchNode* last_search() const noexcept { return nullptr; }
  // Of this game:
  [[nodiscard]] virtual const Stopwatch* stopwatch() const noexcept { return nullptr; }
  [[nodiscard]] virtual std::size_t evaluations() const noexcept { return 0; }
  [[nodiscard]] virtual std::size_t simulated() const noexcept { return 0; }
};

/// Plays the moves of rollouts.
class RandomPlayer final : public Player {
 public:
  void start(const Shape& shape, std::uint64_t seed) override;
  Move choose() override;
  void played(Move move) override { position_.play(move); }

 private:
  Position position_{Shape{}};
  Random random_{0};
  std::vector<Point> scratch_;
};

/// Plays what a tree search finds.
class SearchPlayer final : public Player {
 public:
  SearchPlayer(std::unique_ptr<PositionEvaluator> evaluator, const SearchOptions& options,
               const MoveChoice& choice);

  void start(const Shape& shape, std::uint64_t seed) override;
  Move choose() override;
  void played(Move move) override;

  [[nodiscard]] const SearchNode* last_search() const noexcept override { return root_; }
  [[nodiscard]] const Stopwatch* stopwatch() const noexcept override { return &stopwatch_; }
  [[nodiscard]] std::size_t evaluations() const noexcept override { return search_.evaluations(); }
  [[nodiscard]] std::size_t simulated() const noexcept override { return search_.simulated(); }

 private:
  std::unique_ptr<PositionEvaluator> evaluator_;
  MoveChoice choice_;
  Stopwatch stopwatch_;
  TreeSearch search_;
  Random random_{0};
  const SearchNode* root_ = nullptr;
};

}  // namespace trigo
