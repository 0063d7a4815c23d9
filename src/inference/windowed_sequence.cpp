#include "kvcache/windowed_sequence.hpp"

#include <algorithm>
#include <utility>

#include "base/throw_error.hpp"
#include "cache/window.hpp"
#include "inference/sequence_state.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

WindowOptions with_defaults(WindowOptions options, std::size_t positions) {
  if (options.size == 0) {
    options.size = (positions + 1) / 2;
  }
  if (options.stride == 0 && options.size < positions) {
    options.stride = positions - options.size;
  }
  if (options.stride == 0 || options.size > positions ||
      options.stride > positions - options.size) {
    throw_error(ErrorCode::invalid_argument,
                "a window of {} tokens with a stride of {} does not fit: size + stride must be at "
                "most the model's {} positions, and the stride at least 1",
                options.size, options.stride, positions);
  }
  if (options.sinks >= options.size) {
    throw_error(ErrorCode::invalid_argument,
                "{} sinks leave no room for later tokens in a window of {}; fewer sinks are needed",
                options.sinks, options.size);
  }
  return options;
}

cache::Window window_of(const WindowOptions& options) {
  return {.size = options.size, .stride = options.stride, .sinks = options.sinks};
}

}  // namespace

WindowedSequence::WindowedSequence(const Model& model, const WindowOptions& options)
    : options_(with_defaults(options, model.info().max_seq_len)), sequence_(model.new_sequence()) {}

Logits WindowedSequence::extend(std::span<const TokenId> tokens) try {
  const std::uint64_t length = length_ + tokens.size();
  const std::size_t kept = window_of(options_).kept(length);
  if (kept == sequence_.length() + tokens.size()) {
    Logits logits = sequence_.extend(tokens);
    length_ = length;
    return logits;
  }
  sequence_.state_->engine->check_token_ids(tokens);  // those that slide out at once too
  const std::vector<TokenId> context = context_after(tokens, kept);
  // The sinks' positions stay, and with them their keys and values.
  Sequence next = sequence_.fork();
  const std::size_t reused = std::min(options_.sinks, next.length());
  next.rewind(reused);
  Logits logits = next.extend(std::span(context).subspan(reused));
  tokens_encoded_anew_ += kept - std::min(kept - reused, tokens.size()) - reused;
  sequence_ = std::move(next);
  length_ = length;
  ++slides_;
  return logits;
} catch (...) {
  rethrow_as_error(kRun);
}

/// The first `sinks` and the last tokens of the text with `tokens` appended, `kept` in all.
std::vector<TokenId> WindowedSequence::context_after(std::span<const TokenId> tokens,
                                                     std::size_t kept) const {
  const std::span<const TokenId> before = sequence_.tokens();
  std::vector<TokenId> text(before.begin(), before.end());
  text.insert(text.end(), tokens.begin(), tokens.end());
  const auto sinks = static_cast<std::ptrdiff_t>(options_.sinks);
  text.erase(text.begin() + sinks, text.end() - (static_cast<std::ptrdiff_t>(kept) - sinks));
  return text;
}

}  // namespace kvcache
