// One sequence of tokens and its share of the cache.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "kvcache/batch.hpp"
#include "kvcache/export.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

namespace inference {
class Engine;
struct SequenceState;
struct StateOf;
}  // namespace inference

/// Tokens whose keys and values are cached on the device. Extending it computes the new tokens
/// only.
///
/// Move-only: copying is spelled fork(). Different sequences of one model may be used from
/// different threads at the same time, also when they share blocks; one sequence from one thread at
/// a time, but for const calls. A sequence keeps its model alive.
class KVCACHE_EXPORT Sequence {
 public:
  explicit Sequence(std::shared_ptr<inference::Engine> engine);
  Sequence(Sequence&&) noexcept;
  Sequence& operator=(Sequence&&) noexcept;
  ~Sequence();

  /// Appends `tokens` and returns the logits of the last of them or of all, [1 or n, vocab_size].
  ///
  /// They may be the sequence's own. In a workspace that was used before for as many tokens,
  /// nothing is allocated on the host but what a new block takes.
  ///
  /// @throws Error empty_input, token_out_of_range, context_full, cache_full, out_of_memory,
  ///         run_failed, logits_invalid. The sequence is then as it was.
  Logits extend(std::span<const TokenId> tokens, LogitsFor logits_for = LogitsFor::last);

  /// The same tokens again, on the same blocks: O(blocks) bookkeeping, no tensor is copied. The two
  /// are independent from here on; whichever first writes into a last block that both hold and that
  /// is partly filled copies that one block. Forks outlive their parent.
  [[nodiscard]] Sequence fork() const;

  /// Writes tokens, keys and values to a file, only the used length, with the model's digest and a
  /// checksum. The file is whole or not there. Model::load_sequence() reads it.
  /// What was given back (ModelOptions::rewindable_tokens) is not in it, and the sequence that is
  /// loaded can be rewound as far as this one.
  /// @throws Error state_not_saved, also of a context of a WindowedSequence that slid and kept its
  ///         keys and values
  void save(const std::filesystem::path& path) const;

  /// Forgets the tokens from `length` on and gives blocks back.
  /// @throws Error invalid_argument when `length` is above length(), or when keys and values were
  ///         given back that the next token would see (ModelOptions::rewindable_tokens). The
  ///         sequence is then as it was. One can always rewind to 0.
  void rewind(std::size_t length);
  [[nodiscard]] bool can_rewind_to(std::size_t length) const noexcept;

  /// The first token whose keys and values are there in all layers: 0, unless they were given back
  /// in some (ModelOptions::rewindable_tokens).
  [[nodiscard]] std::size_t first_cached() const noexcept;

  /// Forgets all tokens and gives their blocks back.
  void reset() noexcept;

  /// Evaluates a tree of continuations in one run; the sequence stays as it is. Node i has position
  /// length() + its depth in the tree and sees the sequence, its ancestors and itself. `nodes` are
  /// those whose logits are returned, in this order; empty: all. The fewer, the cheaper: each is a
  /// product with the whole vocabulary. TokenTree::kPrefix among them asks for the logits that
  /// follow the sequence itself; the tree may then be empty.
  ///
  /// @throws Error empty_input, token_out_of_range, invalid_argument (a parent that is no earlier
  ///         node, a chosen node that does not exist, kPrefix of an empty sequence, or of
  ///         the context of a WindowedSequence that was rewound to what was there before it slid),
  ///         context_full, cache_full, out_of_memory, run_failed, logits_invalid
  [[nodiscard]] TreeEvaluation evaluate(const TokenTree& tree,
                                        std::span<const std::size_t> nodes = {}) const;

  /// Appends the path from the root to `node` of a tree that was evaluated on this sequence (or on
  /// one with the same tokens), by copying its keys and values: nothing is computed. The sequence
  /// may have grown along that path since: then what is missing of it is appended.
  ///
  /// @throws Error invalid_argument when there is no such node, or the sequence is neither the
  ///         tree's prefix nor that and a part of the path, or of another model; cache_full,
  ///         out_of_memory. The sequence is then as it was.
  void commit(const TreeEvaluation& evaluation, std::size_t node);

  /// Number of cached tokens: the position of the next one, unless this is the context of a
  /// WindowedSequence that slid and kept its keys and values, whose positions are the text's.
  [[nodiscard]] std::size_t length() const noexcept;

  /// The cached tokens, in order; to be read until the sequence changes.
  [[nodiscard]] std::span<const TokenId> tokens() const noexcept;

  /// Whether the model has positions for `count` more tokens.
  [[nodiscard]] bool fits(std::size_t count) const noexcept;

 private:
  friend class Model;
  friend class PrefixCache;
  friend class WindowedSequence;
  friend struct inference::StateOf;
  friend std::vector<Logits> extend(std::span<const Extension> batch);
  friend std::vector<TreeEvaluation> evaluate(std::span<const TreeOfPrefix> batch);
  explicit Sequence(std::unique_ptr<inference::SequenceState> state);

  std::unique_ptr<inference::SequenceState> state_;
};

}  // namespace kvcache
