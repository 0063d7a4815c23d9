// What a search asks of a position, whoever answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "game/position.hpp"
#include "search/stopwatch.hpp"

namespace trigo {

/// What an evaluator keeps of a position that it has answered for, so that those after it cost
/// less. It is dropped with the node of the search that holds it.
class KeptPosition {
 public:
  KeptPosition() = default;
  KeptPosition(const KeptPosition&) = delete;
  KeptPosition& operator=(const KeptPosition&) = delete;
  virtual ~KeptPosition() = default;
};

/// What an evaluation cost, for a trace.
struct EvaluationCost {
  std::size_t tokens_computed = 0;
  std::size_t tokens_reused = 0;
  std::size_t blocks_shared = 0;  // of the cache, with the parent's position
  std::size_t blocks_own = 0;
};

struct Evaluation {
  std::vector<float> priors;  // of the legal moves, in their order; they sum to 1; or none yet
  double value = 0;           // for White, in [−1, 1], as end_value()
  std::unique_ptr<KeptPosition> kept;
  EvaluationCost cost;
};

/// One thread's evaluator.
class PositionEvaluator {
 public:
  PositionEvaluator() = default;
  PositionEvaluator(const PositionEvaluator&) = delete;
  PositionEvaluator& operator=(const PositionEvaluator&) = delete;
  virtual ~PositionEvaluator() = default;

  /// A game begins; the seed is for those that are not certain of their answers.
  virtual void start(std::uint64_t /*seed*/) {}

  /// Evaluates a position that has not ended. `before` is what was kept of an earlier position of
  /// the same game and `text` what the game's text grew by since; without one it is all of the
  /// text. `moves` are the legal ones, or none where priors_when_needed() and only the value is
  /// asked for.
  virtual Evaluation evaluate(const KeptPosition* before, std::string_view text,
                              const Position& position, std::span<const Move> moves,
                              Stopwatch& stopwatch) = 0;

  /// Whether priors are better asked for when a position is visited the second time: most are
  /// visited once.
  [[nodiscard]] virtual bool priors_when_needed() const noexcept { return false; }

  /// The priors of a position whose evaluation had none; its cost is added to `cost`.
  virtual std::vector<float> priors(KeptPosition& /*kept*/, const Position& /*position*/,
                                    std::span<const Move> /*moves*/, EvaluationCost& /*cost*/,
                                    Stopwatch& /*stopwatch*/) {
    throw std::logic_error("this evaluator has given all priors before");
  }

  /// A search is over: until the next one nothing is asked.
  virtual void rest() noexcept {}
};

}  // namespace trigo
