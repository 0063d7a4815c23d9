// How probable given tokens are: a text's, and those of many continuations of one prefix.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kvcache/sequence.hpp"
#include "kvcache/types.hpp"

namespace kvcache::decoding {

/// Of consecutive tokens, each after all before it.
struct TokenScores {
  std::vector<float> log_probabilities = {};
  bool greedy = true;  // each has the largest logit

  /// The sum: of all of them together.
  [[nodiscard]] double log_probability() const noexcept;
  /// exp(−mean): 1 where all were certain. Needs a token.
  [[nodiscard]] double perplexity() const noexcept;
};

/// Appends `prefix` to the sequence and scores each continuation of it; the tokens that several
/// begin with are computed once, all in one tree, or in a few where it would have thousands of
/// nodes. The scores are those of the tokens from `first[i]` on in continuations[i], which is not
/// empty.
/// @throws Error as Sequence::extend and Sequence::evaluate; token_out_of_range. The sequence is
///         then as it was.
std::vector<TokenScores> score_continuations(Sequence& sequence, std::span<const TokenId> prefix,
                                             std::span<const std::vector<TokenId>> continuations,
                                             std::span<const std::size_t> first);

/// Appends all tokens but the last to the sequence, which is empty, and scores all but the first.
/// @throws Error empty_input for fewer than two; context_full, before anything is computed;
///         otherwise as Sequence::extend
TokenScores score_text(Sequence& sequence, std::span<const TokenId> tokens);

}  // namespace kvcache::decoding
