#include "decoding/penalties.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string_view>

#include "base/throw_error.hpp"

namespace kvcache::decoding {
namespace {

std::size_t index_of(TokenId token) { return static_cast<std::size_t>(token); }

void check_token(TokenId token, std::size_t vocab_size, std::string_view what) {
  if (token < 0 || index_of(token) >= vocab_size) {
    throw_error(ErrorCode::token_out_of_range,
                "{} names token {}, must be in [0, {}), the vocabulary of the logits", what, token,
                vocab_size);
  }
}

/// Everything that could fail, before anything is counted.
void check_tokens(std::size_t vocab_size, const SamplingOptions& options,
                  const SamplingContext& context) {
  for (const TokenBias& bias : options.logit_bias) {
    check_token(bias.token, vocab_size, "logit_bias");
  }
  for (const TokenId token : context.prompt) {
    check_token(token, vocab_size, "the prompt");
  }
  for (const TokenId token : context.generated) {
    check_token(token, vocab_size, "the generated text");
  }
  if (context.allowed != nullptr && context.allowed->vocab_size() != vocab_size) {
    throw_error(ErrorCode::invalid_argument,
                "the allowed tokens are of a vocabulary of {}, and there are {} logits; make the "
                "constraint with the model's vocab_size",
                context.allowed->vocab_size(), vocab_size);
  }
}

}  // namespace

bool Penalties::needed(const SamplingOptions& options) noexcept {
  return !options.logit_bias.empty() || options.repetition_penalty != 1 ||
         options.frequency_penalty != 0 || options.presence_penalty != 0;
}

std::span<const float> Penalties::apply(std::span<const float> logits,
                                        const SamplingOptions& options,
                                        const SamplingContext& context) {
  check_tokens(logits.size(), options, context);
  seen_.resize(logits.size());
  logits_.assign(logits.begin(), logits.end());
  add_biases(options.logit_bias);
  const auto repetition = static_cast<float>(options.repetition_penalty);
  for (const std::span<const TokenId> tokens : {context.prompt, context.generated}) {
    penalize_repetition(tokens, repetition);
  }
  for (const std::span<const TokenId> tokens : {context.prompt, context.generated}) {
    for (const TokenId token : tokens) {
      seen_[index_of(token)] = 0;
    }
  }
  penalize_generated(context.generated, options);
  if (context.allowed != nullptr) {
    forbid_others(*context.allowed);
  }
  return logits_;
}

void Penalties::add_biases(std::span<const TokenBias> biases) {
  for (const TokenBias& bias : biases) {
    logits_[index_of(bias.token)] += bias.bias;
  }
}

/// Once a token, however often it came.
void Penalties::penalize_repetition(std::span<const TokenId> tokens, float penalty) {
  if (penalty == 1) {
    return;
  }
  for (const TokenId token : tokens) {
    if (seen_[index_of(token)]++ == 0) {
      float& logit = logits_[index_of(token)];
      logit = logit < 0 ? logit * penalty : logit / penalty;
    }
  }
}

void Penalties::penalize_generated(std::span<const TokenId> generated,
                                   const SamplingOptions& options) {
  const auto frequency = static_cast<float>(options.frequency_penalty);
  const auto presence = static_cast<float>(options.presence_penalty);
  if (frequency == 0 && presence == 0) {
    return;
  }
  for (const TokenId token : generated) {
    ++seen_[index_of(token)];
  }
  for (const TokenId token : generated) {
    std::uint32_t& times = seen_[index_of(token)];
    if (times > 0) {
      float& logit = logits_[index_of(token)];
      logit -= frequency * static_cast<float>(times);
      logit -= presence;
      times = 0;
    }
  }
}

void Penalties::forbid_others(const TokenMask& allowed) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  for (std::size_t first = 0; first < logits_.size(); first += TokenMask::kBits) {
    const std::uint32_t word = allowed.words()[first / TokenMask::kBits];
    if (~word == 0) {
      continue;
    }
    const std::size_t end = std::min(logits_.size(), first + TokenMask::kBits);
    for (std::size_t token = first; token < end; ++token) {
      if ((word >> (token - first) & 1U) == 0) {
        logits_[token] = kNever;
      }
    }
  }
}

}  // namespace kvcache::decoding
