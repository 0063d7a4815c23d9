// Several sequences extended in one run.
#pragma once

#include <span>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

class Sequence;

/// Tokens to append to a sequence, in a batch.
struct Extension {
  Sequence* sequence;
  std::span<const TokenId> tokens;
  LogitsFor logits_for = LogitsFor::last;
};

/// Extends all sequences in one run; element i holds the logits of batch[i]. Sequences may have any
/// lengths, take any numbers of tokens, and share blocks.
///
/// @throws Error as Sequence::extend; invalid_argument when a sequence occurs twice, was moved
/// away,
///         or is of another model than the first. All sequences are then as they were.
KVCACHE_EXPORT std::vector<Logits> extend(std::span<const Extension> batch);

}  // namespace kvcache
