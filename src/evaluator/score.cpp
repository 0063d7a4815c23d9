#include "evaluator/score.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "base/throw_error.hpp"

namespace kvcache::evaluator {
namespace {

/// The index of the continuation that scored[i] belongs to.
std::size_t continuation_of(const ScorePlan& plan, std::size_t i) {
  return static_cast<std::size_t>(std::ranges::upper_bound(plan.begins, i) - plan.begins.begin()) -
         1;
}

}  // namespace

ScorePlan plan_scores(const ScoreRequest& request) {
  if (request.continuations.empty() && request.outputs.empty()) {
    throw_error(ErrorCode::empty_input,
                "scores were asked for, but no continuations and no outputs; give at least one");
  }
  ScorePlan plan;
  plan.nodes.push_back(TokenTree::kPrefix);
  plan.begins.push_back(0);
  std::map<std::pair<std::size_t, TokenId>, std::size_t> children;  // by row and token
  for (const std::vector<TokenId>& continuation : request.continuations) {
    if (continuation.empty()) {
      throw_error(ErrorCode::empty_input,
                  "continuation {} has no tokens; each needs at least one to be scored",
                  plan.begins.size() - 1);
    }
    std::size_t row = 0;
    for (std::size_t i = 0; i < continuation.size(); ++i) {
      plan.scored.push_back({row, continuation[i]});
      if (i + 1 == continuation.size()) {
        break;
      }
      const auto [child, is_new] = children.try_emplace({row, continuation[i]}, plan.nodes.size());
      if (is_new) {  // node n has row n + 1
        plan.nodes.push_back(plan.tree.tokens.size());
        plan.tree.tokens.push_back(continuation[i]);
        plan.tree.parents.push_back(static_cast<std::int32_t>(row) - 1);
      }
      row = child->second;
    }
    plan.begins.push_back(plan.scored.size());
  }
  return plan;
}

void check_scored_tokens(const ScorePlan& plan, std::size_t vocab_size) {
  for (std::size_t i = 0; i < plan.scored.size(); ++i) {
    const TokenId token = plan.scored[i].token;
    if (token < 0 || token >= static_cast<TokenId>(vocab_size)) {
      const std::size_t continuation = continuation_of(plan, i);
      throw_error(ErrorCode::token_out_of_range,
                  "token {} of continuation {} is {}, must be in [0, {}), the model's vocabulary",
                  i - plan.begins[continuation], continuation, token, vocab_size);
    }
  }
}

Scores scores_of(const ScorePlan& plan, std::span<const float> log_probabilities,
                 const Logits& logits, std::span<const std::string> outputs) {
  std::vector<std::vector<float>> vectors;
  for (const std::string& name : outputs) {
    const std::span<const float> values = logits.output(name, 0);
    vectors.emplace_back(values.begin(), values.end());
  }
  return {{log_probabilities.begin(), log_probabilities.end()}, plan.begins, std::move(vectors)};
}

}  // namespace kvcache::evaluator
