// Whether two ways of computing the same logits agree: no speed is reported without it.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kvcache/types.hpp"

namespace kvcache::report {

/// How far logits that are the same but for rounding may differ, as a share of the largest one.
double logit_tolerance(const ModelInfo& model) noexcept;

/// A tally of comparisons of a token, chosen greedily, with logits computed another way.
///
/// Where the largest logits are closer to each other than the tolerance, rounding decides between
/// them. That is counted as a tie: it is no failure, but nothing to hide either.
struct Agreement {
  double tolerance = 0;
  std::size_t equal = 0;            // the same token
  std::size_t ties = 0;             // another one, whose logit differs by less than the tolerance
  std::size_t different = 0;        // another one
  std::size_t logits_compared = 0;  // rows
  double largest_logit_difference = 0;  // as a share of the row's largest logit

  /// Whether `token` is the choice that `reference` [vocab_size] makes. A token outside of it, and
  /// any token where the reference holds NaN, is another one.
  void compare_token(TokenId token, std::span<const float> reference);

  /// The largest difference between two rows of logits; NaN counts as infinitely different.
  void compare_logits(std::span<const float> logits, std::span<const float> reference);

  [[nodiscard]] std::size_t tokens_compared() const noexcept { return equal + ties + different; }
  [[nodiscard]] bool holds() const noexcept;

  /// "256 of 256 tokens equal", with ties and differences where there are any.
  [[nodiscard]] std::string describe() const;
};

}  // namespace kvcache::report
