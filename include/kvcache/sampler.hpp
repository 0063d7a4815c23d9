// From logits to the next token, by chance or by size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvcache/constraint.hpp"
#include "kvcache/export.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// What is added to a token's logit; −infinity: the token never comes.
struct TokenBias {
  TokenId token;
  float bias;
};

/// How the next token is drawn. The options work in the order in which they stand here, which is
/// that of Hugging Face's transformers (docs/SAMPLING.md); left as they are, they do nothing.
/// Tokens that a constraint forbids go after the penalties, before the temperature.
struct SamplingOptions {
  std::vector<TokenBias> logit_bias = {};

  /// Above 1, tokens of the text so far come less often: a positive logit is divided by it, a
  /// negative one multiplied. Above 0.
  double repetition_penalty = 1;
  /// Taken off a new token's logit for each time that it came, prompt not included.
  double frequency_penalty = 0;
  /// Taken off a new token's logit once, prompt not included.
  double presence_penalty = 0;

  /// What logits are divided by; 0: the largest is taken, the smallest id when several are equal.
  double temperature = 1;

  /// The largest so many stay, and what equals the last of these; 0: all.
  std::size_t top_k = 0;
  /// The most probable stay until they make up this share of the probability, in [0, 1].
  double top_p = 1;
  /// Tokens stay that are at least this share as probable as the most probable one, in [0, 1].
  double min_p = 0;
  /// Of the probability, the share of those tokens that stay whose information is the nearest to
  /// the average (locally typical sampling, Meister et al. 2022), in (0, 1].
  double typical_p = 1;

  std::uint64_t seed = 0;
};

/// What a token is drawn after, and which of the random numbers of a seed draws it.
struct SamplingContext {
  std::span<const TokenId> prompt = {};     // what was there
  std::span<const TokenId> generated = {};  // what was drawn after it
  std::uint64_t sample = 0;                 // which of several texts this one is
  std::uint64_t position = 0;               // of the token, in its text
  const TokenMask* allowed = nullptr;       // the tokens that may be drawn; null: all
};

struct TokenProbability {
  TokenId token;
  double probability;
};

/// Draws tokens. The random number is a function of seed, sample and position alone (the counter of
/// Philox4x32-10), so that a text is the same on any number of threads, alone and within a batch,
/// wherever the logits are the same bits.
///
/// On the host: logits of a GPU are brought there, but for the largest one, or the top_k largest,
/// without biases, penalties and constraint. Keeps its scratch, so that drawing allocates nothing
/// once it has grown. Move-only; one thread at a time.
class KVCACHE_EXPORT Sampler {
 public:
  /// @throws Error invalid_argument for an option outside its range, naming it; out_of_memory
  explicit Sampler(SamplingOptions options = {});
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;
  ~Sampler();

  /// The token that follows.
  /// @throws Error invalid_argument when there is no such row, −infinity leaves no token, or the
  /// set
  ///         of allowed tokens is of another vocabulary; no_token_allowed when none is in it, or
  ///         −infinity leaves none of it; token_out_of_range for one of the biases or the context;
  ///         out_of_memory
  [[nodiscard]] TokenId sample(const Logits& logits, std::size_t row,
                               const SamplingContext& context);

  /// The same of logits from anywhere, [vocab_size].
  /// @throws Error also logits_invalid for NaN and +infinity
  [[nodiscard]] TokenId sample(std::span<const float> logits, const SamplingContext& context);

  /// The tokens that sample() may draw and their probabilities, the most probable first.
  /// @throws Error as sample()
  [[nodiscard]] std::vector<TokenProbability> distribution(std::span<const float> logits,
                                                           const SamplingContext& context);

  [[nodiscard]] const SamplingOptions& options() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvcache
