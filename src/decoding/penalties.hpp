// What changes single logits before a token is drawn: biases, penalties and a constraint.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvcache/sampler.hpp"

namespace kvcache::decoding {

/// Logits with biases, penalties and a constraint applied, in scratch of its own.
class Penalties {
 public:
  /// Whether these options change any logit.
  [[nodiscard]] static bool needed(const SamplingOptions& options) noexcept;

  /// The logits with `options` applied, in float32 as Hugging Face does, and −infinity for what the
  /// context does not allow. Valid until the next call.
  /// @throws Error token_out_of_range for a token of the biases or the context; invalid_argument
  ///         where the allowed tokens are of another vocabulary; std::bad_alloc
  std::span<const float> apply(std::span<const float> logits, const SamplingOptions& options,
                               const SamplingContext& context);

 private:
  void add_biases(std::span<const TokenBias> biases);
  void penalize_repetition(std::span<const TokenId> tokens, float penalty);
  void forbid_others(const TokenMask& allowed);
  void penalize_generated(std::span<const TokenId> generated, const SamplingOptions& options);

  std::vector<float> logits_;
  std::vector<std::uint32_t> seen_;  // by token: how often; zeros between calls
};

}  // namespace kvcache::decoding
