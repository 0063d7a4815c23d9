// Generation: from logits to the next token, again and again.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "kvcache/sequence.hpp"
#include "kvcache/types.hpp"
#include "kvcache/windowed_sequence.hpp"

namespace kvcache::decoding {

/// Told of each new token as soon as it is known; false ends the generation.
using TokenCallback = std::function<bool(TokenId)>;

/// Appends `prompt` to the sequence, then up to `max_new_tokens` times the token with the largest
/// logit. Returns the new tokens. The last of them is not in the sequence: nothing was asked after.
///
/// @throws Error context_full when prompt and new tokens do not fit, before anything is computed;
///         otherwise as Sequence::extend. The sequence is then as it was (but for a last block that
///         it shared, which has become its own), and so it is where `on_token` throws; unless it
///         has given back what it would see (Sequence::can_rewind_to): then it keeps what was
///         appended.
std::vector<TokenId> generate_greedy(Sequence& sequence, std::span<const TokenId> prompt,
                                     std::size_t max_new_tokens,
                                     const TokenCallback& on_token = {});

/// The same on a text that may outgrow the model's positions.
/// @throws Error as WindowedSequence::extend. What was appended until then stays, because a text
/// that
///         slid has forgotten what was before.
std::vector<TokenId> generate_greedy(WindowedSequence& sequence, std::span<const TokenId> prompt,
                                     std::size_t max_new_tokens,
                                     const TokenCallback& on_token = {});

}  // namespace kvcache::decoding
