#include "decoding/greedy.hpp"

#include <algorithm>

#include "base/throw_error.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache::decoding {
namespace {

/// How many more tokens the sequence can take. Slow, for error messages.
std::size_t free_positions(const Sequence& sequence) {
  std::size_t count = 0;
  while (sequence.fits(count + 1)) {
    ++count;
  }
  return count;
}

/// The last new token is returned but never fed, so it needs no position.
void check_fits(const Sequence& sequence, std::size_t prompt, std::size_t new_tokens) {
  // The second comparison: the sum must not wrap around.
  if (sequence.fits(prompt + new_tokens - 1) && sequence.fits(new_tokens - 1)) {
    return;
  }
  const std::size_t free = free_positions(sequence);
  throw_error(ErrorCode::context_full,
              "{} new tokens do not fit after a prompt of {}: {} of the model's {} positions are "
              "used, {} are free; ask for at most {} new tokens",
              new_tokens, prompt, sequence.length(), sequence.length() + free, free,
              free < prompt ? 0 : free - prompt + 1);
}

std::vector<TokenId> with_room_for(std::size_t count) try {
  std::vector<TokenId> tokens;
  tokens.reserve(count);
  return tokens;
} catch (...) {
  rethrow_as_error(kRun);
}

void append(std::vector<TokenId>& tokens, TokenId token) try {
  tokens.push_back(token);
} catch (...) {
  rethrow_as_error(kRun);
}

constexpr std::size_t kMostReserved = 4096;  // who asks for more may stop early

/// `AnySequence` is a Sequence or a WindowedSequence; `max_new_tokens` is above 0.
template <typename AnySequence>
std::vector<TokenId> generate(AnySequence& sequence, std::span<const TokenId> prompt,
                              std::size_t max_new_tokens, const TokenCallback& on_token) {
  std::vector<TokenId> tokens = with_room_for(std::min(max_new_tokens, kMostReserved));
  Logits logits = sequence.extend(prompt);
  while (true) {
    append(tokens, logits.argmax());
    const bool go_on = !on_token || on_token(tokens.back());
    if (!go_on || tokens.size() == max_new_tokens) {
      return tokens;
    }
    logits = sequence.extend({&tokens.back(), 1});
  }
}

}  // namespace

std::vector<TokenId> generate_greedy(Sequence& sequence, std::span<const TokenId> prompt,
                                     std::size_t max_new_tokens, const TokenCallback& on_token) {
  if (max_new_tokens == 0) {
    return {};
  }
  check_fits(sequence, prompt.size(), max_new_tokens);
  const std::size_t length = sequence.length();
  try {
    return generate(sequence, prompt, max_new_tokens, on_token);
  } catch (...) {
    if (sequence.can_rewind_to(length)) {
      sequence.rewind(length);
    }
    throw;
  }
}

std::vector<TokenId> generate_greedy(WindowedSequence& sequence, std::span<const TokenId> prompt,
                                     std::size_t max_new_tokens, const TokenCallback& on_token) {
  if (max_new_tokens == 0) {
    return {};
  }
  return generate(sequence, prompt, max_new_tokens, on_token);
}

}  // namespace kvcache::decoding
