// The most probable texts that a search finds.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/tokenizer.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

struct BeamOptions {
  std::size_t beams = 4;           // texts that are kept at each length, and returned
  std::size_t max_new_tokens = 0;  // of each
  /// Texts are compared by log-probability / length^length_penalty; 0: by log-probability alone.
  double length_penalty = 1;
  std::vector<TokenId> stop_tokens = {};
  const Tokenizer* tokenizer = nullptr;    // whose texts are wanted; null: tokens alone
  const Constraint* constraint = nullptr;  // what texts have to be, as GenerateOptions::constraint
};

/// A text that was found.
struct Beam {
  std::vector<TokenId> tokens = {};  // the new ones, a stop token among them
  std::string text = {};             // of these but the stop token; empty without a tokenizer
  FinishReason finish_reason = FinishReason::length;
  bool meets_constraint = true;  // as Generated::meets_constraint
  double log_probability =
      0;             // of the new tokens to the model, all together; a constraint only chooses
  double score = 0;  // what they are compared by
};

/// Searches for the texts after a prompt with the largest scores, as the beam search of Hugging
/// Face's transformers does with early_stopping=False (docs/SAMPLING.md): at each length the
/// `beams` most probable texts go on, one token of all of them in one run, on forks that share the
/// prompt. The sequence then ends with the prompt. Returns `beams` texts, the best first; fewer
/// where a constraint leaves fewer.
///
/// @param go_on is asked before each run but that of the prompt; false ends the search with what
///        there is. What it throws comes out as it is, and the sequence is then as it was, as where
///        generate()'s callback throws.
/// @throws Error as generate(), no_token_allowed where a constraint ends all texts before one is
///         complete; invalid_argument for options outside their range
KVCACHE_EXPORT std::vector<Beam> beam_search(Sequence& sequence, std::span<const TokenId> prompt,
                                             const BeamOptions& options,
                                             const std::function<bool()>& go_on = {});

}  // namespace kvcache
