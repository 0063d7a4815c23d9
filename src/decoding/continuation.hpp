// One text that is being generated: its tokens, what of it can be printed, whether it ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "decoding/constrained_text.hpp"
#include "decoding/stop_strings.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/logits.hpp"

namespace kvcache::decoding {

/// @throws Error invalid_argument for what of the options breaks a rule
void check_request(const GenerateOptions& options);

/// What is drawn after a prompt.
class Continuation {
 public:
  /// The prompt's last token is at position − 1. Prompt and options outlive the object; a
  /// constraint is of the logits' vocabulary.
  Continuation(const GenerateOptions& options, std::span<const TokenId> prompt,
               std::uint64_t position, std::size_t sample);

  /// Draws the next token from a row of logits. Returns what the text has grown by, valid until the
  /// next call.
  /// @throws Error as Sampler::sample, TextStream::push and the constraint; no_token_allowed;
  ///         out_of_memory
  std::string_view draw(const Logits& logits, std::size_t row);

  /// Ends the text where nothing else has.
  void cancel() noexcept;

  [[nodiscard]] bool finished() const noexcept { return finished_; }
  [[nodiscard]] TokenId last_token() const noexcept { return generated_.tokens.back(); }
  [[nodiscard]] std::size_t sample() const noexcept { return sample_; }

  /// What the text has to be, in its state; null where there is no constraint.
  [[nodiscard]] const Constraint* constraint() const noexcept {
    return constrained_ ? &constrained_->state() : nullptr;
  }

  /// All of it; the object is of no use then.
  [[nodiscard]] Generated take() noexcept { return std::move(generated_); }

 private:
  [[nodiscard]] const TokenMask* allowed() const;
  void end_where_it_must(TokenId token, bool stops);
  void grow_text(TokenId token, bool stops);
  void finish(FinishReason reason) noexcept;

  const GenerateOptions& options_;
  std::span<const TokenId> prompt_;
  std::uint64_t position_;
  std::size_t sample_;
  Sampler sampler_;
  std::optional<ConstrainedText> constrained_;  // where there is a constraint
  std::optional<TextStream> stream_;            // of the options' tokenizer
  StopStrings stop_strings_;
  Generated generated_;
  std::string grown_;
  bool finished_ = false;
};

}  // namespace kvcache::decoding
