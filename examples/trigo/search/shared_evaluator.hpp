// Positions of many games, evaluated together.
#pragma once

#include "kvcache/evaluator.hpp"
#include "search/neural_evaluator.hpp"

namespace trigo {

/// Hands its questions to an Evaluator, which runs those of all threads together.
class SharedEvaluator final : public NeuralEvaluator {
 public:
  /// `evaluator` must be of the inferencer's model, and outlive this.
  /// @throws kvcache::Error as NeuralEvaluator()
  SharedEvaluator(const kvcache::SharedModelInferencer& inferencer, kvcache::Evaluator& evaluator,
                  bool priors_when_needed = false);

  void rest() noexcept override { client_.idle(); }

 private:
  kvcache::MoveScores run(kvcache::NeuralPolicy& policy, const kvcache::PolicyQuestion& question,
                          Stopwatch& stopwatch) override;

  kvcache::EvaluatorClient client_;
};

}  // namespace trigo
