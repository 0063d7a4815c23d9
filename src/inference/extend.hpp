// The extension of sequences by new tokens, as one run.
#pragma once

#include <span>

#include "inference/sequence_state.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"

namespace kvcache::inference {

/// Tokens to append to a sequence. They may be the sequence's own.
struct Addition {
  SequenceState* state;
  std::span<const TokenId> tokens;
  LogitsFor logits_for;

  [[nodiscard]] std::size_t num_logits() const noexcept {
    return logits_for == LogitsFor::last ? 1 : tokens.size();
  }
};

/// After a run: the sequence holds the new tokens, on the blocks that were planned for them. Cannot
/// fail: a state has room for all that its model can hold.
void append(const Addition& addition, cache::Growth&& growth) noexcept;

/// Appends all of `batch` in one run, which holds their logits one after the other. Up to a few
/// sequences that need no new block, in a workspace that was used before, nothing is allocated.
/// @throws Error as kvcache::extend(); all sequences are then as they were
WorkspaceLease extend(std::span<const Addition> batch);

}  // namespace kvcache::inference
