#include "kvcache/windowed_sequence.hpp"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "cache/window.hpp"
#include "inference/sequence_state.hpp"
#include "inference/window_options.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

using inference::SequenceState;

cache::Window window_of(const WindowOptions& options) {
  return {.size = options.size, .stride = options.stride, .sinks = options.sinks};
}

/// A number that no other slide has.
std::uint64_t next_slide() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

/// `stride` tokens leave behind the sinks; what stays keeps its keys, values and positions.
void let_leave(SequenceState& state, const cache::Window& window) {
  state.tokens.prepare_erase();
  state.table.evict(window.sinks, window.stride, state.tokens.size());
  state.tokens.erase(window.sinks, window.stride);
  state.left = {.first = window.sinks,
                .count = state.left.count + window.stride,
                .slide = next_slide(),
                .stayed = state.tokens.size()};
}

/// Makes a full `text` one of its sinks and latest tokens, at the first positions.
void encode_anew(Sequence& text, const cache::Window& window) {
  const std::span<const TokenId> tokens = text.tokens();
  const auto latest = tokens.last(window.size - window.sinks);
  const std::vector<TokenId> copied(latest.begin(), latest.end());
  text.rewind(window.sinks);  // whose positions stay, and with them their keys and values
  static_cast<void>(text.extend(copied));
}

}  // namespace

WindowedSequence::WindowedSequence(const Model& model, const WindowOptions& options)
    : options_(inference::resolve(options, model.info(), model.cache_stats().block_len)),
      sequence_(model.new_sequence()) {
  sequence_.state_->keeps_all = true;
}

Logits WindowedSequence::extend(std::span<const TokenId> tokens) try {
  if (tokens.size() <= window_of(options_).capacity() - sequence_.length()) {
    Logits logits = sequence_.extend(tokens);
    length_ += tokens.size();
    return logits;
  }
  sequence_.state_->engine->check_token_ids(tokens);  // those that slide out at once too
  return options_.sliding == Sliding::keep ? slide_and_keep(tokens) : slide_and_encode_anew(tokens);
} catch (...) {
  rethrow_as_error(kRun);
}

/// Piece by piece, for between two slides all tokens see the same context.
Logits WindowedSequence::slide_and_keep(std::span<const TokenId> tokens) {
  const cache::Window window = window_of(options_);
  Sequence next = sequence_.fork();
  std::uint64_t slides = 0;
  std::uint64_t encoded_anew = 0;
  std::optional<Logits> logits;
  for (std::span<const TokenId> rest = tokens; !rest.empty();) {
    if (next.length() == window.capacity()) {
      if (next.fits(window.stride)) {
        let_leave(*next.state_, window);
      } else {  // the text has used up the model's positions
        encode_anew(next, window);
        encoded_anew += window.size - window.sinks;
      }
      ++slides;
    }
    const std::size_t count = std::min(rest.size(), window.capacity() - next.length());
    logits = next.extend(rest.first(count));
    rest = rest.subspan(count);
  }
  sequence_ = std::move(next);
  length_ += tokens.size();
  slides_ += slides;
  tokens_encoded_anew_ += encoded_anew;
  return std::move(*logits);
}

Logits WindowedSequence::slide_and_encode_anew(std::span<const TokenId> tokens) {
  const std::uint64_t length = length_ + tokens.size();
  const std::size_t kept = window_of(options_).kept(length);
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
