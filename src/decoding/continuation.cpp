#include "decoding/continuation.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"
#include "decoding/after_prompt.hpp"
#include "decoding/log_probabilities.hpp"
#include "decoding/sampling_options.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache::decoding {
namespace {

constexpr std::size_t kShownTokens = 16;

/// The constraint leads to where nothing can follow.
[[noreturn]] void throw_dead_end(const Generated& generated, bool may_end) {
  const std::span<const TokenId> all = generated.tokens;
  const std::size_t shown = std::min(all.size(), kShownTokens);
  std::string said = fmt::format("after {} new tokens", all.size());
  if (shown > 0) {
    said +=
        fmt::format(" ({}{})", shown < all.size() ? "..., " : "", fmt::join(all.last(shown), ", "));
  }
  if (!generated.text.empty()) {
    said += fmt::format(", with the text {} so far", in_quotes(generated.text));
  }
  throw_error(ErrorCode::no_token_allowed, "{}, the constraint allows no token, and {}", said,
              may_end
                  ? "though the text may end here, no stop token was given to end it with; "
                    "give one"
                  : "the text may not end here; the constraint must allow only what leads to an "
                    "end");
}

}  // namespace

void check_request(const GenerateOptions& options) try {
  check_options(options.sampling);
  const StopStrings checked(options.stop_strings);
  if (!options.stop_strings.empty() && options.tokenizer == nullptr) {
    throw_error(ErrorCode::invalid_argument,
                "{} stop strings were given without a tokenizer, so that there is no text to find "
                "them in; give one, or stop tokens",
                options.stop_strings.size());
  }
} catch (...) {
  rethrow_as_error(kRun);
}

Continuation::Continuation(const GenerateOptions& options, std::span<const TokenId> prompt,
                           std::uint64_t position, std::size_t sample) try
    : options_(options),
      prompt_(prompt),
      position_(position),
      sample_(sample),
      sampler_(options.sampling),
      stop_strings_(options.stop_strings) {
  if (options.constraint != nullptr) {
    constrained_.emplace(*options.constraint, options.stop_tokens);
  }
  if (options.tokenizer != nullptr) {
    stream_ = stream_after(*options.tokenizer, prompt);
  }
} catch (...) {
  rethrow_as_error(kRun);
}

std::string_view Continuation::draw(const Logits& logits, std::size_t row) try {
  const TokenMask* const mask = allowed();
  const TokenId token = sampler_.sample(logits, row,
                                        {.prompt = prompt_,
                                         .generated = generated_.tokens,
                                         .sample = sample_,
                                         .position = position_ + generated_.tokens.size(),
                                         .allowed = mask});
  generated_.tokens.push_back(token);
  if (options_.log_probabilities) {
    generated_.log_probabilities.push_back(
        log_probabilities_of(logits, row, token, *options_.log_probabilities, mask));
  }
  const bool stops = std::ranges::find(options_.stop_tokens, token) != options_.stop_tokens.end();
  end_where_it_must(token, stops);
  grown_.clear();
  if (stream_) {
    grow_text(token, stops);
  }
  return grown_;
} catch (...) {
  rethrow_as_error(kRun);
}

/// The tokens that may be drawn; null: all.
const TokenMask* Continuation::allowed() const {
  if (!constrained_) {
    return nullptr;
  }
  if (constrained_->allowed().count() == 0) {
    throw_dead_end(generated_, constrained_->may_end());
  }
  return &constrained_->allowed();
}

void Continuation::end_where_it_must(TokenId token, bool stops) {
  if (constrained_) {
    constrained_->take(token);
    generated_.meets_constraint = constrained_->may_end();
  }
  if (stops) {
    finish(FinishReason::stop_token);
  } else if (constrained_ && constrained_->complete()) {
    finish(FinishReason::complete);
  } else if (generated_.tokens.size() == options_.max_new_tokens) {
    finish(FinishReason::length);
  }
}

/// The new token's text, and with the last token what was waiting.
void Continuation::grow_text(TokenId token, bool stops) {
  grown_ = stop_strings_.push(stops ? std::string() : stream_->push(token));
  if (finished_ && !stop_strings_.found()) {
    grown_ += stop_strings_.push(stream_->finish());
  }
  if (stop_strings_.found()) {
    finish(FinishReason::stop_string);
    generated_.meets_constraint = generated_.meets_constraint && !constrained_;  // it is cut off
  } else if (finished_) {
    grown_ += stop_strings_.finish();
  }
  generated_.text += grown_;
}

void Continuation::finish(FinishReason reason) noexcept {
  finished_ = true;
  generated_.finish_reason = reason;
}

void Continuation::cancel() noexcept {
  if (!finished_) {
    finish(FinishReason::cancelled);
  }
}

}  // namespace kvcache::decoding
