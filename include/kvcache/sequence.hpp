// One sequence of tokens and its share of the cache.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

namespace inference {
class Engine;
struct SequenceState;
}  // namespace inference

/// Tokens whose keys and values are cached on the device. Extending it computes the new tokens
/// only.
///
/// Move-only. Different sequences of one model may be used from different threads at the same time,
/// one sequence from one thread at a time. A sequence keeps its model alive.
class Sequence {
 public:
  explicit Sequence(std::shared_ptr<inference::Engine> engine);
  Sequence(Sequence&&) noexcept;
  Sequence& operator=(Sequence&&) noexcept;
  ~Sequence();

  /// Appends `tokens` and returns the logits of the last of them or of all, [1 or n, vocab_size].
  ///
  /// @throws Error empty_input, token_out_of_range, context_full, cache_full, out_of_memory,
  ///         run_failed. The sequence is then as it was.
  Logits extend(std::span<const TokenId> tokens, LogitsFor logits_for = LogitsFor::last);

  /// Forgets all tokens and gives their blocks back.
  void reset() noexcept;

  /// Number of cached tokens (the depth of the next one).
  [[nodiscard]] std::size_t length() const noexcept;

  /// The cached tokens, in order.
  [[nodiscard]] std::span<const TokenId> tokens() const noexcept;

  /// Whether the model has positions for `count` more tokens.
  [[nodiscard]] bool fits(std::size_t count) const noexcept;

 private:
  std::unique_ptr<inference::SequenceState> state_;
};

}  // namespace kvcache
