// What generations have in common: what follows a prompt, before the first new token.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "decoding/constrained_text.hpp"
#include "decoding/continuation.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/tokenizer.hpp"
#include "kvcache/types.hpp"

namespace kvcache::decoding {

/// @throws Error context_full when a prompt and new tokens after it do not fit. The last new token
///         is returned but never fed, so it needs no position.
void check_fits(const Sequence& sequence, std::size_t prompt, std::size_t new_tokens);

/// @throws Error token_out_of_range
void check_stop_tokens(std::span<const TokenId> tokens, std::size_t vocab_size);

/// The logits that new tokens begin with: after the prompt, which is appended, or without one after
/// the sequence as it is.
Logits logits_after(Sequence& sequence, std::span<const TokenId> prompt);

/// The text that new tokens go on with after a prompt.
/// @throws Error token_out_of_range where the tokenizer has no such token
TextStream stream_after(const Tokenizer& tokenizer, std::span<const TokenId> prompt);

/// Takes back what was appended since the sequence had this length, where it has not given back
/// what it would see then (Sequence::can_rewind_to).
void take_back(Sequence& sequence, std::size_t length);

/// @throws Error out_of_memory
std::vector<TokenId> copy_of(std::span<const TokenId> tokens);

/// Checks what is asked for, appends the prompt and returns what `work` makes of the logits and of
/// the text so far, which live as long as it works. Takes back what was appended where that fails.
template <typename Work>
auto after_prompt(Sequence& sequence, std::span<const TokenId> prompt,
                  const GenerateOptions& options, const Work& work) {
  check_request(options);
  check_fits(sequence, prompt.size(), options.max_new_tokens);
  const std::size_t length = sequence.length();
  try {
    Logits logits = logits_after(sequence, prompt);
    check_stop_tokens(options.stop_tokens, logits.vocab_size());
    check_vocabulary(options.constraint, logits.vocab_size());
    const std::vector<TokenId> text = copy_of(sequence.tokens());
    return work(std::move(logits), text);
  } catch (...) {
    take_back(sequence, length);
    throw;
  }
}

}  // namespace kvcache::decoding
