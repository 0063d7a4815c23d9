// Positions evaluated by a model of their text.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvcache/neural_policy.hpp"
#include "kvcache/shared_model_inferencer.hpp"
#include "search/position_evaluator.hpp"

namespace trigo {

/// Asks a model for priors and value: of the tokens that the text grew by, the value token, and the
/// legal moves, whose characters form a tree. The value is that of the text behind the last move;
/// before Black's move the moves' tokens begin with its number. Both come of one run, or the priors
/// of another one when they are needed.
class NeuralEvaluator : public PositionEvaluator {
 public:
  Evaluation evaluate(const KeptPosition* before, std::string_view text, const Position& position,
                      std::span<const Move> moves, Stopwatch& stopwatch) final;
  [[nodiscard]] bool priors_when_needed() const noexcept final { return priors_when_needed_; }
  std::vector<float> priors(KeptPosition& kept, const Position& position,
                            std::span<const Move> moves, EvaluationCost& cost,
                            Stopwatch& stopwatch) final;

 protected:
  /// @throws kvcache::Error invalid_argument when the model's vocabulary is not that of TGN (128
  ///         tokens), or it has no value head
  NeuralEvaluator(const kvcache::SharedModelInferencer& inferencer, bool priors_when_needed);

 private:
  /// Runs the question and has the policy read the answer; laps Part::model behind the run.
  virtual kvcache::MoveScores run(kvcache::NeuralPolicy& policy,
                                  const kvcache::PolicyQuestion& question,
                                  Stopwatch& stopwatch) = 0;

  std::span<const std::vector<kvcache::TokenId>> tokens_of(const Position& position,
                                                           std::span<const Move> moves);

  /// Asks and answers; adds the cost.
  kvcache::MoveScores scores(kvcache::NeuralPolicy& policy,
                             std::span<const std::vector<kvcache::TokenId>> moves, bool with_value,
                             EvaluationCost& cost, Stopwatch& stopwatch);

  kvcache::SharedModelInferencer inferencer_;
  bool priors_when_needed_;
  std::size_t block_len_;
  std::vector<std::vector<kvcache::TokenId>> move_tokens_;  // of the last position, to be reused
};

/// Runs its questions in the thread that asks, one at a time.
class DirectEvaluator final : public NeuralEvaluator {
 public:
  /// @throws kvcache::Error as NeuralEvaluator()
  explicit DirectEvaluator(const kvcache::SharedModelInferencer& inferencer,
                           bool priors_when_needed = false)
      : NeuralEvaluator(inferencer, priors_when_needed) {}

 private:
  kvcache::MoveScores run(kvcache::NeuralPolicy& policy, const kvcache::PolicyQuestion& question,
                          Stopwatch& stopwatch) override;
};

}  // namespace trigo
