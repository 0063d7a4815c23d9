#include "evaluator/score.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>

#include "base/throw_error.hpp"

namespace kvcache::evaluator {
namespace {

/// log Σ exp of a row of logits.
double log_sum_exp(std::span<const float> logits) {
  const float largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) {
    sum += static_cast<double>(std::exp(logit - largest));
  }
  return static_cast<double>(largest) + std::log(sum);
}

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
  plan.tree = {{0}, {-1}};
  plan.begins.push_back(0);
  std::map<std::pair<std::size_t, TokenId>, std::size_t> children;
  for (const std::vector<TokenId>& continuation : request.continuations) {
    if (continuation.empty()) {
      throw_error(ErrorCode::empty_input,
                  "continuation {} has no tokens; each needs at least one to be scored",
                  plan.begins.size() - 1);
    }
    std::size_t node = 0;
    for (std::size_t i = 0; i < continuation.size(); ++i) {
      plan.scored.push_back({node, continuation[i]});
      if (i + 1 == continuation.size()) {
        break;
      }
      const auto [child, is_new] =
          children.try_emplace({node, continuation[i]}, plan.tree.tokens.size());
      if (is_new) {
        plan.tree.tokens.push_back(continuation[i]);
        plan.tree.parents.push_back(static_cast<std::int32_t>(node));
      }
      node = child->second;
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

Scores scores_of(const ScorePlan& plan, const Logits& logits,
                 std::span<const std::string> outputs) {
  std::vector<double> normalizers(logits.rows());
  for (std::size_t node = 0; node < normalizers.size(); ++node) {
    normalizers[node] = plan.scored.empty() ? 0 : log_sum_exp(logits.row(node));
  }
  std::vector<float> log_probabilities;
  log_probabilities.reserve(plan.scored.size());
  for (const auto& [node, token] : plan.scored) {
    const float logit = logits.row(node)[static_cast<std::size_t>(token)];
    log_probabilities.push_back(static_cast<float>(logit - normalizers[node]));
  }
  std::vector<std::vector<float>> vectors;
  for (const std::string& name : outputs) {
    const std::span<const float> values = logits.output(name, 0);
    vectors.emplace_back(values.begin(), values.end());
  }
  return {std::move(log_probabilities), plan.begins, std::move(vectors)};
}

}  // namespace kvcache::evaluator
