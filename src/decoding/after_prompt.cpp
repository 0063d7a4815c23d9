#include "decoding/after_prompt.hpp"

#include <algorithm>
#include <array>

#include "base/throw_error.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache::decoding {
namespace {

/// A decoder looks at neighbours only: the first token of a text may lose its space, and a
/// character is of no more tokens than bytes.
constexpr std::size_t kTokensBefore = 8;

/// How many more tokens the sequence can take. Slow, for error messages.
std::size_t free_positions(const Sequence& sequence) {
  std::size_t count = 0;
  while (sequence.fits(count + 1)) {
    ++count;
  }
  return count;
}

}  // namespace

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

void check_stop_tokens(std::span<const TokenId> tokens, std::size_t vocab_size) {
  for (const TokenId token : tokens) {
    if (token < 0 || token >= static_cast<TokenId>(vocab_size)) {
      throw_error(ErrorCode::token_out_of_range,
                  "the stop token {} lies outside the model's vocabulary, must be in [0, {})",
                  token, vocab_size);
    }
  }
}

Logits logits_after(Sequence& sequence, std::span<const TokenId> prompt) {
  if (prompt.empty() && sequence.length() > 0) {
    constexpr std::array kItself{TokenTree::kPrefix};
    return sequence.evaluate({}, kItself).logits();
  }
  return sequence.extend(prompt);
}

TextStream stream_after(const Tokenizer& tokenizer, std::span<const TokenId> prompt) {
  TextStream stream = tokenizer.new_text({.skip_unknown_ids = true});
  for (const TokenId token : prompt.last(std::min(prompt.size(), kTokensBefore))) {
    stream.push(token);
  }
  return stream;
}

void take_back(Sequence& sequence, std::size_t length) {
  if (sequence.can_rewind_to(length)) {
    sequence.rewind(length);
  }
}

std::vector<TokenId> copy_of(std::span<const TokenId> tokens) try {
  return {tokens.begin(), tokens.end()};
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace kvcache::decoding
