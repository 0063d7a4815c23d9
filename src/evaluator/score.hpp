// The probabilities of continuations, by way of a tree.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kvcache/evaluator_request.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/tree.hpp"

namespace kvcache::evaluator {

/// What is computed for a ScoreRequest: a tree after the prefix, and the logits after the prefix
/// itself. Continuations that begin alike share nodes, and the last token of one needs none.
struct ScorePlan {
  TokenTree tree;
  std::vector<std::size_t> nodes;   // a row of logits each: the prefix, then all the tree's
  std::vector<RowToken> scored;     // every token of every continuation
  std::vector<std::size_t> begins;  // of the continuations in `scored`, and its end
};

/// @throws Error empty_input where there is nothing to score
ScorePlan plan_scores(const ScoreRequest& request);

/// @throws Error token_out_of_range naming the continuation
void check_scored_tokens(const ScorePlan& plan, std::size_t vocab_size);

/// `log_probabilities`: of the plan's scored tokens. `logits`: of its nodes.
/// @throws Error invalid_argument where the model has no such output
Scores scores_of(const ScorePlan& plan, std::span<const float> log_probabilities,
                 const Logits& logits, std::span<const std::string> outputs);

}  // namespace kvcache::evaluator
