// Trees of continuations, as one run.
#include "kvcache/tree.hpp"

#include <utility>

#include "base/throw_error.hpp"
#include "inference/mixed_run.hpp"
#include "inference/sequence_state.hpp"
#include "kvcache/sequence.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {

using inference::EvaluatedTree;
using inference::SequenceState;

TreeEvaluation::TreeEvaluation(Logits logits, std::unique_ptr<EvaluatedTree> tree)
    : logits_(std::move(logits)), tree_(std::move(tree)) {}
TreeEvaluation::TreeEvaluation(TreeEvaluation&&) noexcept = default;
TreeEvaluation& TreeEvaluation::operator=(TreeEvaluation&&) noexcept = default;
TreeEvaluation::~TreeEvaluation() = default;

std::vector<TreeEvaluation> evaluate(std::span<const TreeOfPrefix> batch) try {
  if (batch.empty()) {
    throw_error(ErrorCode::empty_input, "the batch is empty; at least one tree is needed");
  }
  for (const TreeOfPrefix& element : batch) {
    if (element.prefix == nullptr || !element.prefix->state_ || element.tree == nullptr) {
      throw_error(ErrorCode::invalid_argument,
                  "element {} of the batch names no tree, or no prefix, or one that was moved away",
                  &element - batch.data());
    }
  }
  const std::shared_ptr<inference::Engine> engine = batch.front().prefix->state_->engine;
  inference::MixedRun run(engine, batch.size());
  for (const TreeOfPrefix& element : batch) {
    const SequenceState& prefix = *element.prefix->state_;
    if (prefix.engine != engine) {
      throw_error(ErrorCode::invalid_argument,
                  "element {} of the batch has a prefix of another model than element 0",
                  run.rows());
    }
    run.add(inference::TreeRow{.prefix = &prefix, .tree = element.tree, .nodes = element.nodes});
  }
  run.run();
  std::vector<TreeEvaluation> results;
  results.reserve(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    results.emplace_back(run.logits(i), run.take_tree(i));
  }
  return results;
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace kvcache
