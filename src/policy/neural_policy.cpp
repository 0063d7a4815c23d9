#include "kvcache/neural_policy.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/throw_error.hpp"
#include "ort/error_boundary.hpp"
#include "policy/value_output.hpp"

namespace kvcache {
namespace {

// Beyond so many tokens that are not computed yet, a prefill of them is faster than a tree.
constexpr std::size_t kMostPending = 32;

/// Adds the tokens of moves to a question's tree, what they have in common once.
class MoveTrie {
 public:
  MoveTrie(PolicyQuestion& question, std::size_t root_row)
      : question_(question), root_{static_cast<std::int32_t>(question.pending) - 1, root_row} {}

  void add(std::span<const TokenId> move) {
    Place at = root_;
    for (std::size_t i = 0; i < move.size(); ++i) {
      question_.steps.push_back({at.row, move[i]});
      if (i + 1 < move.size()) {
        at = child(at, move[i]);
      }
    }
    question_.steps_end.push_back(question_.steps.size());
  }

 private:
  struct Place {
    std::int32_t node;
    std::size_t row;  // of the logits that follow it
  };

  /// A move has few tokens and a position few moves: a search of the nodes is as fast as a table.
  Place child(Place parent, TokenId token) {
    TokenTree& tree = question_.tree;
    for (std::size_t node = question_.pending; node < tree.tokens.size(); ++node) {
      if (tree.parents[node] == parent.node && tree.tokens[node] == token) {
        return {static_cast<std::int32_t>(node), first_row_ + (node - question_.pending)};
      }
    }
    tree.tokens.push_back(token);
    tree.parents.push_back(parent.node);
    question_.nodes.push_back(tree.tokens.size() - 1);
    return {static_cast<std::int32_t>(tree.tokens.size()) - 1, question_.nodes.size() - 1};
  }

  PolicyQuestion& question_;
  Place root_;
  std::size_t first_row_ = root_.row + 1;
};

/// How many tokens all moves begin with, less than the first one has.
std::size_t common_beginning(std::span<const std::vector<TokenId>> moves) {
  const std::vector<TokenId>& first = moves.front();
  std::size_t common = first.size() - 1;
  for (const std::vector<TokenId>& move : moves) {
    const auto differs = std::ranges::mismatch(move, first).in2;
    common = std::min(common, static_cast<std::size_t>(differs - first.begin()));
  }
  return common;
}

/// The sum of each move's steps, from the log-probabilities of every step.
std::vector<float> sums_of_moves(const PolicyQuestion& question, const Logits& logits) {
  const std::vector<float> found = logits.log_probabilities(question.steps);
  std::vector<float> sums;
  sums.reserve(question.steps_end.size());
  std::size_t step = 0;
  for (const std::size_t end_of_move : question.steps_end) {
    float sum = 0;
    for (; step < end_of_move; ++step) {
      sum += found[step];
    }
    sums.push_back(sum);
  }
  return sums;
}

/// exp(logs) over their sum.
std::vector<float> normalised(std::span<const float> logs) {
  const float largest = *std::ranges::max_element(logs);
  std::vector<float> priors;
  priors.reserve(logs.size());
  float sum = 0;
  for (const float log : logs) {
    priors.push_back(std::exp(log - largest));
    sum += priors.back();
  }
  std::ranges::transform(priors, priors.begin(), [&](float prior) { return prior / sum; });
  return priors;
}

void check_record(const ModelInfo& info, std::span<const TokenId> tokens, std::size_t length) {
  if (tokens.empty()) {
    throw_error(ErrorCode::empty_input, "no tokens were given; at least one is needed");
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= static_cast<TokenId>(info.vocab_size)) {
      throw_error(ErrorCode::token_out_of_range,
                  "token {} of the record is {}, must be in [0, {}), the model's vocabulary",
                  length + i, tokens[i], info.vocab_size);
    }
  }
  if (tokens.size() > info.max_seq_len - length) {
    throw_error(ErrorCode::context_full,
                "{} tokens do not fit: {} of the model's {} positions are used by the record",
                tokens.size(), length, info.max_seq_len);
  }
}

/// Shortens it to `length` tokens, or to none where keys and values that the next one would see
/// were given back (ModelOptions::rewindable_tokens): they are then computed anew when asked for.
void rewind_or_reset(Sequence& sequence, std::size_t length) {
  if (sequence.can_rewind_to(length)) {
    sequence.rewind(length);
  } else {
    sequence.reset();
  }
}

}  // namespace

NeuralPolicy::NeuralPolicy(const SharedModelInferencer& inferencer, std::span<const TokenId> record,
                           TokenId value_token) try
    : inferencer_(inferencer),
      record_(record.begin(), record.end()),
      sequence_(inferencer.model().new_sequence()),
      value_token_(value_token) {
  check_record(inferencer.model().info(), record, 0);
} catch (...) {
  rethrow_as_error(kRun);
}

NeuralPolicy::NeuralPolicy(const SharedModelInferencer& inferencer, Sequence sequence,
                           std::vector<TokenId> record, TokenId value_token)
    : inferencer_(inferencer),
      record_(std::move(record)),
      sequence_(std::move(sequence)),
      value_token_(value_token) {}

NeuralPolicy::NeuralPolicy(NeuralPolicy&&) noexcept = default;
NeuralPolicy& NeuralPolicy::operator=(NeuralPolicy&&) noexcept = default;
NeuralPolicy::~NeuralPolicy() = default;

MoveScores NeuralPolicy::evaluate(std::span<const std::vector<TokenId>> moves, bool with_value) {
  const PolicyQuestion question = ask(moves, with_value);
  return answer(question, sequence_.evaluate(question.tree, question.nodes));
}

PolicyQuestion NeuralPolicy::ask(std::span<const std::vector<TokenId>> moves, bool with_value) try {
  if (std::ranges::any_of(moves, [](const auto& move) { return move.empty(); })) {
    throw_error(ErrorCode::empty_input,
                "a move without a token was given; each must have one at least");
  }
  if (moves.empty() && !with_value) {
    throw_error(
        ErrorCode::empty_input,
        "no move was given, and no value is asked for; a position is asked for one of them");
  }
  if (moves.empty()) {
    policy::require_value_output(inferencer_.model().info());
  }
  if (inferencer_.cache_mode() == CacheMode::off) {
    sequence_.reset();
  }
  // Moves of one token need no node but the record's last, which no tree can be without.
  const bool tree_is_empty =
      std::ranges::all_of(moves, [](const auto& move) { return move.size() == 1; }) &&
      !(with_value && inferencer_.has_value());
  rewind_or_reset(sequence_, std::min(computed(), record_.size() - (tree_is_empty ? 1 : 0)));
  if (const std::size_t missing = record_.size() - computed(); missing > kMostPending) {
    sequence_.extend(std::span<const TokenId>(record_).subspan(computed()).first(missing - 1));
  }
  PolicyQuestion question;
  TokenTree& tree = question.tree;
  for (std::size_t i = computed(); i < record_.size(); ++i) {
    tree.parents.push_back(static_cast<std::int32_t>(tree.tokens.size()) - 1);
    tree.tokens.push_back(record_[i]);
  }
  question.pending = tree.tokens.size();
  if (!moves.empty()) {
    question.nodes.push_back(question.pending == 0 ? TokenTree::kPrefix : question.pending - 1);
    MoveTrie trie(question, 0);
    for (const std::vector<TokenId>& move : moves) {
      trie.add(move);
    }
    question.common = common_beginning(moves);  // the first nodes of the first move
  }
  if (with_value && inferencer_.has_value()) {
    tree.tokens.push_back(value_token_);
    tree.parents.push_back(static_cast<std::int32_t>(question.pending) - 1);
    question.value_row = question.nodes.size();
    question.nodes.push_back(tree.tokens.size() - 1);
  }
  return question;
} catch (...) {
  rethrow_as_error(kRun);
}

MoveScores NeuralPolicy::answer(const PolicyQuestion& question,
                                const TreeEvaluation& evaluation) try {
  const Logits& logits = evaluation.logits();
  MoveScores scores;
  if (!question.steps_end.empty()) {
    scores.log_probabilities = sums_of_moves(question, logits);
    scores.priors = normalised(scores.log_probabilities);
  }
  if (question.value_row) {
    scores.value = logits.output(policy::kValueOutput, *question.value_row).front();
  }
  if (inferencer_.cache_mode() == CacheMode::off) {
    sequence_.reset();
  } else if (const std::size_t kept = question.pending + question.common; kept > 0) {
    sequence_.commit(evaluation, kept - 1);
  }
  return scores;
} catch (...) {
  rethrow_as_error(kRun);
}

void NeuralPolicy::play(std::span<const TokenId> tokens) try {
  check_record(inferencer_.model().info(), tokens, record_.size());
  const std::vector<TokenId> copy(tokens.begin(), tokens.end());  // they may be the record's own
  record_.insert(record_.end(), copy.begin(), copy.end());
  const auto known = sequence_.tokens();  // all of it the record's, unless the move is another one
  const auto differs = std::ranges::mismatch(known, record_).in1;
  rewind_or_reset(sequence_, static_cast<std::size_t>(differs - known.begin()));
} catch (...) {
  rethrow_as_error(kRun);
}

void NeuralPolicy::take_back(std::size_t length) {
  if (length == 0 || length > record_.size()) {
    throw_error(ErrorCode::invalid_argument,
                "cannot take back to {} tokens, the record has {}; keep at least one", length,
                record_.size());
  }
  record_.resize(length);
  rewind_or_reset(sequence_, std::min(length, computed()));
}

NeuralPolicy NeuralPolicy::fork() const try {
  return {inferencer_, sequence_.fork(), record_, value_token_};
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace kvcache
