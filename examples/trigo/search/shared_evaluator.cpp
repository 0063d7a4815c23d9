#include "search/shared_evaluator.hpp"

namespace trigo {

SharedEvaluator::SharedEvaluator(const kvcache::SharedModelInferencer& inferencer,
                                 kvcache::Evaluator& evaluator, bool priors_when_needed)
    : NeuralEvaluator(inferencer, priors_when_needed), client_(evaluator.register_client()) {
  client_.idle();
}

kvcache::MoveScores SharedEvaluator::run(kvcache::NeuralPolicy& policy,
                                         const kvcache::PolicyQuestion& question,
                                         Stopwatch& stopwatch) {
  stopwatch.lap(Part::policy);
  const auto answer = client_.answer(
      kvcache::EvaluateRequest{kvcache::borrow(policy.sequence()), question.tree, question.nodes});
  stopwatch.lap(Part::model);
  return policy.answer(question, *answer.result.tree());
}

}  // namespace trigo
