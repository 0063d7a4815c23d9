#include "decoding/continuation.hpp"

#include <algorithm>

#include "base/throw_error.hpp"
#include "decoding/after_prompt.hpp"
#include "decoding/sampling_options.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache::decoding {
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
  if (options.tokenizer != nullptr) {
    stream_ = stream_after(*options.tokenizer, prompt);
  }
} catch (...) {
  rethrow_as_error(kRun);
}

std::string_view Continuation::draw(const Logits& logits, std::size_t row) try {
  const TokenId token = sampler_.sample(logits, row,
                                        {.prompt = prompt_,
                                         .generated = generated_.tokens,
                                         .sample = sample_,
                                         .position = position_ + generated_.tokens.size()});
  generated_.tokens.push_back(token);
  if (options_.log_probabilities) {
    note_probabilities(logits, row, token);
  }
  const bool stops = std::ranges::find(options_.stop_tokens, token) != options_.stop_tokens.end();
  if (stops) {
    finish(FinishReason::stop_token);
  } else if (generated_.tokens.size() == options_.max_new_tokens) {
    finish(FinishReason::length);
  }
  grown_.clear();
  if (stream_) {
    grow_text(token, stops);
  }
  return grown_;
} catch (...) {
  rethrow_as_error(kRun);
}

void Continuation::note_probabilities(const Logits& logits, std::size_t row, TokenId token) {
  std::vector<TokenId> tokens{token};
  for (const TokenScore& best : logits.top_k(*options_.log_probabilities, row)) {
    tokens.push_back(best.token);
  }
  const std::vector<float> found = logits.log_probabilities(tokens, row);
  TokenLogProbabilities& noted = generated_.log_probabilities.emplace_back();
  noted.chosen = found.front();
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    noted.most_probable.push_back({tokens[i], found[i]});
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
