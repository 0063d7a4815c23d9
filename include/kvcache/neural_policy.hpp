// A policy over the moves of a game, or over any continuations of a text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/shared_model_inferencer.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// What a model thinks of the moves of a position.
struct MoveScores {
  /// Of each move, in the order given: log p(move | record), the sum over its tokens of the
  /// logarithm of the softmax over the whole vocabulary.
  std::vector<float> log_probabilities;
  /// The same as probabilities, normalised over the moves that were given: they sum to 1.
  std::vector<float> priors;
  /// The output "value" at the value token behind the record; nothing where the model has none, or
  /// it was not asked for.
  std::optional<float> value;
};

/// One run that answers all that is asked of a position: a tree with what of the record is not
/// computed yet, the value token, and the moves' tokens, each beginning in common once.
struct PolicyQuestion {
  TokenTree tree;
  std::vector<std::size_t> nodes;  // whose logits are needed
  std::size_t pending = 0;         // nodes at the tree's beginning that belong to the record
  std::size_t common = 0;          // those behind them that all moves begin with

  std::vector<RowToken> steps;         // the tokens of all moves, one move after the other
  std::vector<std::size_t> steps_end;  // of each move
  std::optional<std::size_t> value_row;
};

/// A game record as tokens, of whose positions a policy is asked. What was computed of it stays in
/// the cache, and what all moves that were asked for begin with does too (such as the number of a
/// move): a position costs the tokens of its last move and of the moves that are asked for, in one
/// run.
///
/// Move-only; forks share what they have in common. Different policies of one inferencer may be
/// used from different threads at the same time.
class KVCACHE_EXPORT NeuralPolicy {
 public:
  /// `record`: the tokens so far, at least one, such as the one that a text starts with. Nothing is
  /// computed yet.
  /// @throws Error empty_input, token_out_of_range, context_full
  NeuralPolicy(const SharedModelInferencer& inferencer, std::span<const TokenId> record,
               TokenId value_token = SharedModelInferencer::kValueToken);
  NeuralPolicy(NeuralPolicy&&) noexcept;
  NeuralPolicy& operator=(NeuralPolicy&&) noexcept;
  ~NeuralPolicy();

  /// Log-probabilities and priors of `moves`, each the tokens that it would append to the record,
  /// and the value, by one run of the model. Without moves the value alone, without `with_value`
  /// the moves alone: a search that looks at most positions once needs the priors of few.
  ///
  /// @throws Error empty_input (a move without a token; no move, and no value either),
  ///         invalid_argument (no move of a model without a value), and as Sequence::evaluate. The
  ///         policy is then as it was.
  MoveScores evaluate(std::span<const std::vector<TokenId>> moves, bool with_value = true);

  /// Appends tokens to the record, such as those of a move and of the separator behind it. They are
  /// computed with the next position that is asked for. Moves that were evaluated need no more than
  /// this: their tokens cost what any others do.
  /// @throws Error empty_input, token_out_of_range, context_full. The policy is then as it was.
  void play(std::span<const TokenId> tokens);

  /// Shortens the record to its first `length` tokens.
  /// @throws Error invalid_argument when `length` is 0 or above the record's
  void take_back(std::size_t length);

  /// The same record; what is computed of it is shared, not copied.
  [[nodiscard]] NeuralPolicy fork() const;

  [[nodiscard]] std::span<const TokenId> record() const noexcept { return record_; }
  /// How many tokens of the record are in the cache.
  [[nodiscard]] std::size_t computed() const noexcept {
    return std::min(sequence_.length(), record_.size());
  }

  // The parts of evaluate(), for who runs several positions together: a batch, or an Evaluator.

  /// What is to be evaluated on sequence(), TreeOfPrefix{&sequence(), &tree, nodes}.
  /// @throws Error as evaluate()
  [[nodiscard]] PolicyQuestion ask(std::span<const std::vector<TokenId>> moves,
                                   bool with_value = true);
  [[nodiscard]] const Sequence& sequence() const noexcept { return sequence_; }
  /// Reads the answer, and keeps in the cache what of the record it computed.
  /// @throws Error as Sequence::commit. The policy is then as it was.
  MoveScores answer(const PolicyQuestion& question, const TreeEvaluation& evaluation);

 private:
  NeuralPolicy(const SharedModelInferencer& inferencer, Sequence sequence,
               std::vector<TokenId> record, TokenId value_token);

  SharedModelInferencer inferencer_;
  std::vector<TokenId> record_;
  Sequence sequence_;  // the first tokens of the record, or all and what follows them probably
  TokenId value_token_;
};

}  // namespace kvcache
