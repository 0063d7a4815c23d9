// What a Sequence and a TreeEvaluation are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cache/block_table.hpp"
#include "inference/engine.hpp"
#include "inference/token_history.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache::inference {

/// Tokens that left a text when its window slid: `count` of them, behind its first `first`. Keys
/// and values of what stays were computed with them, so that equal tokens do not make equal
/// sequences.
struct LeftTokens {
  std::size_t first = 0;
  std::size_t count = 0;
  std::uint64_t slide = 0;  // which it was, of all that ever were; 0: none
  std::size_t stayed = 0;   // the first tokens, of which all were computed before it

  bool operator==(const LeftTokens&) const = default;
};

/// Tokens, and the blocks that hold their keys and values.
struct SequenceState {
  explicit SequenceState(const std::shared_ptr<Engine>& shared_engine)
      : SequenceState(shared_engine, TokenHistory(shared_engine->info().max_seq_len)) {}
  SequenceState(std::shared_ptr<Engine> shared_engine, TokenHistory history)
      : engine(std::move(shared_engine)), table(engine->pool()), tokens(std::move(history)) {
    // So that nothing can fail after a run: what is appended then finds room.
    table.reserve(engine->info().max_seq_len);
  }

  std::shared_ptr<Engine> engine;  // first: blocks go back to its pool
  cache::BlockTable table;
  TokenHistory tokens;
  LeftTokens left;
  bool keeps_all = false;  // the context of a WindowedSequence, which bounds its memory itself

  /// Gives back what no token to come sees, if anything is ever given back.
  void give_back_unseen() noexcept {
    for (std::size_t group = engine->pool().groups().size(); group-- > 0 && !keeps_all;) {
      if (const std::size_t needed = engine->tokens_needed(group); tokens.size() > needed) {
        table.give_back(group, tokens.size() - needed);
      }
    }
  }

  /// The shortest length but 0 that is left with all that its next token sees, and why.
  struct ShortestRewind {
    std::size_t length = 0;
    std::size_t first_cached = 0;  // in the layers that it is for
    std::size_t window = 0;        // of these layers
  };
  [[nodiscard]] ShortestRewind shortest_rewind() const noexcept {
    const std::vector<std::size_t>& windows = engine->pool().groups().windows;
    ShortestRewind shortest;
    for (std::size_t group = 0; group < windows.size(); ++group) {
      const std::size_t first = table.first_cached()[group];
      if (first > 0 && first + windows[group] > shortest.length) {
        shortest = {first + windows[group], first, windows[group]};
      }
    }
    return shortest;
  }

  /// Whether the last token saw what the next one sees, so that it can be computed again.
  [[nodiscard]] bool repeats_last() const noexcept { return tokens.size() > left.stayed; }

  /// Position in the text of the next token.
  [[nodiscard]] std::size_t next_position() const noexcept { return tokens.size() + left.count; }
};

/// A tree after its evaluation.
struct EvaluatedTree {
  std::shared_ptr<Engine> engine;  // first: blocks go back to its pool
  cache::BlockTable table;
  TokenHistory::Prefix prefix;
  LeftTokens left;  // of the prefix
  TokenTree tree;
  std::size_t first_place = 0;  // the prefix's last token may have come before the nodes

  /// Which token of `table` holds a node's keys and values.
  [[nodiscard]] std::size_t place_of(std::size_t node) const noexcept { return first_place + node; }
};

/// For the rooms behind this one: what a public sequence is made of; null when it was moved away.
struct StateOf {
  static SequenceState* of(Sequence& sequence) noexcept { return sequence.state_.get(); }
  static const SequenceState* of(const Sequence& sequence) noexcept {
    return sequence.state_.get();
  }
};

}  // namespace kvcache::inference
