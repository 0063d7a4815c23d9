#include "search/neural_evaluator.hpp"

#include <utility>

#include "base/throw_error.hpp"
#include "game/notation.hpp"

namespace trigo {
namespace {

using kvcache::ErrorCode;
using kvcache::NeuralPolicy;
using kvcache::TokenId;

constexpr TokenId kStart = 1;
constexpr std::size_t kVocabulary = 128;

class KeptPolicy final : public KeptPosition {
 public:
  explicit KeptPolicy(NeuralPolicy policy) : policy_(std::move(policy)) {}
  [[nodiscard]] const NeuralPolicy& policy() const noexcept { return policy_; }
  [[nodiscard]] NeuralPolicy& policy() noexcept { return policy_; }

 private:
  NeuralPolicy policy_;
};

/// The text's tokens are its bytes.
void append_tokens(std::string_view text, std::vector<TokenId>& tokens) {
  tokens.insert(tokens.end(), text.begin(), text.end());
}

}  // namespace

NeuralEvaluator::NeuralEvaluator(const kvcache::SharedModelInferencer& inferencer,
                                 bool priors_when_needed)
    : inferencer_(inferencer),
      priors_when_needed_(priors_when_needed),
      block_len_(inferencer.model().cache_stats().block_len) {
  const auto& info = inferencer.model().info();
  if (info.vocab_size != kVocabulary) {
    kvcache::throw_error(ErrorCode::invalid_argument,
                         "the model has a vocabulary of {} tokens, that of the game's text is {}; "
                         "export a checkpoint of a Trigo model",
                         info.vocab_size, kVocabulary);
  }
  if (!inferencer.has_value()) {
    kvcache::throw_error(ErrorCode::invalid_argument,
                         "the model has no output \"value\", which the search backs up; export a "
                         "checkpoint with a value head");
  }
}

std::span<const std::vector<TokenId>> NeuralEvaluator::tokens_of(const Position& position,
                                                                 std::span<const Move> moves) {
  if (move_tokens_.size() < moves.size()) {
    move_tokens_.resize(moves.size());
  }
  const std::string number = number_text(position.moves());
  for (std::size_t i = 0; i < moves.size(); ++i) {
    move_tokens_[i].clear();
    append_tokens(number, move_tokens_[i]);
    append_tokens(move_text(position.shape(), moves[i]), move_tokens_[i]);
  }
  return std::span<const std::vector<TokenId>>(move_tokens_).first(moves.size());
}

Evaluation NeuralEvaluator::evaluate(const KeptPosition* before, std::string_view text,
                                     const Position& position, std::span<const Move> moves,
                                     Stopwatch& stopwatch) {
  const auto* parent = dynamic_cast<const KeptPolicy*>(before);
  std::vector<TokenId> tokens;
  if (parent == nullptr) {
    tokens.push_back(kStart);
  }
  append_tokens(text, tokens);
  const auto asked = tokens_of(position, moves);
  stopwatch.lap(Part::text);
  NeuralPolicy policy =
      parent == nullptr ? NeuralPolicy(inferencer_, tokens) : parent->policy().fork();
  if (parent != nullptr) {
    policy.play(tokens);
  }
  Evaluation evaluation;
  const std::size_t known = policy.computed();
  kvcache::MoveScores found = scores(policy, asked, true, evaluation.cost, stopwatch);
  evaluation.cost.tokens_reused = known;
  evaluation.cost.blocks_shared = known / block_len_;
  evaluation.cost.blocks_own =
      (policy.computed() + block_len_ - 1) / block_len_ - evaluation.cost.blocks_shared;
  evaluation.priors = std::move(found.priors);
  evaluation.value = found.value.value();
  evaluation.kept = std::make_unique<KeptPolicy>(std::move(policy));
  stopwatch.lap(Part::policy);
  return evaluation;
}

std::vector<float> NeuralEvaluator::priors(KeptPosition& kept, const Position& position,
                                           std::span<const Move> moves, EvaluationCost& cost,
                                           Stopwatch& stopwatch) {
  const auto asked = tokens_of(position, moves);
  stopwatch.lap(Part::text);
  NeuralPolicy& policy = dynamic_cast<KeptPolicy&>(kept).policy();
  kvcache::MoveScores found = scores(policy, asked, false, cost, stopwatch);
  stopwatch.lap(Part::policy);
  return std::move(found.priors);
}

kvcache::MoveScores NeuralEvaluator::scores(NeuralPolicy& policy,
                                            std::span<const std::vector<TokenId>> moves,
                                            bool with_value, EvaluationCost& cost,
                                            Stopwatch& stopwatch) {
  const std::size_t known = policy.computed();
  const kvcache::PolicyQuestion question = policy.ask(moves, with_value);
  // What ask() computed by itself, the tree, and the record's last token once more where all of it
  // was known.
  cost.tokens_computed += policy.record().size() - known + question.tree.tokens.size() -
                          question.pending + (question.pending == 0 ? 1 : 0);
  return run(policy, question, stopwatch);
}

kvcache::MoveScores DirectEvaluator::run(NeuralPolicy& policy,
                                         const kvcache::PolicyQuestion& question,
                                         Stopwatch& stopwatch) {
  stopwatch.lap(Part::policy);
  const kvcache::TreeEvaluation evaluation =
      policy.sequence().evaluate(question.tree, question.nodes);
  stopwatch.lap(Part::model);
  return policy.answer(question, evaluation);
}

}  // namespace trigo
