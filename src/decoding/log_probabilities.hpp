// How probable tokens are to the model, among all or among those that a constraint allows.
#pragma once

#include <cstddef>
#include <vector>

#include "kvcache/constraint.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/logits.hpp"

namespace kvcache::decoding {

/// The tokens with the largest logits of a row, the smallest id first of equal ones, at most so
/// many. `allowed`, of the logits' vocabulary, is the set they are of; null: all.
/// @throws Error as Logits::row
std::vector<TokenId> largest_of(const Logits& logits, std::size_t row, std::size_t most,
                                const TokenMask* allowed);

/// Of a drawn token and of the so many most probable ones: by the softmax over `allowed`, or over
/// all where that is null.
/// @throws Error as Logits::log_probabilities
TokenLogProbabilities log_probabilities_of(const Logits& logits, std::size_t row, TokenId token,
                                           std::size_t most, const TokenMask* allowed);

}  // namespace kvcache::decoding
