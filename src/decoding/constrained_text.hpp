// What a constraint says of one text that is being generated.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "kvcache/constraint.hpp"
#include "kvcache/types.hpp"

namespace kvcache::decoding {

/// @throws Error invalid_argument where a constraint, which may be null, is of another vocabulary
void check_vocabulary(const Constraint* constraint, std::size_t vocab_size);

/// A constraint's own state for a text, with stop tokens where the text may end. Move-only.
class ConstrainedText {
 public:
  /// In the state that `constraint` is in. Stop tokens are of its vocabulary and outlive the
  /// object.
  ConstrainedText(const Constraint& constraint, std::span<const TokenId> stop_tokens);

  /// For another text that goes on from here.
  [[nodiscard]] ConstrainedText fork() const;

  /// The tokens that may follow; empty at a dead end.
  [[nodiscard]] const TokenMask& allowed() const noexcept { return allowed_; }

  /// Takes a token that is allowed.
  /// @throws Error run_failed where the constraint contradicts its own mask
  void take(TokenId token);

  /// Whether nothing but a stop token may follow, and the text may end.
  [[nodiscard]] bool complete() const noexcept { return complete_; }

  /// Whether the text may end here.
  [[nodiscard]] bool may_end() const noexcept { return may_end_; }

  [[nodiscard]] const Constraint& state() const noexcept { return *state_; }

 private:
  ConstrainedText() = default;
  void look_ahead();
  [[nodiscard]] bool is_stop(TokenId token) const noexcept;

  std::unique_ptr<Constraint> state_;
  std::span<const TokenId> stop_tokens_;
  TokenMask allowed_;
  bool complete_ = false;
  bool may_end_ = false;
};

}  // namespace kvcache::decoding
