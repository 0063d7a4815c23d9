#include "decoding/constrained_text.hpp"

#include <algorithm>

#include "base/throw_error.hpp"

namespace kvcache::decoding {

void check_vocabulary(const Constraint* constraint, std::size_t vocab_size) {
  if (constraint != nullptr && constraint->vocab_size() != vocab_size) {
    throw_error(ErrorCode::invalid_argument,
                "the constraint is of a vocabulary of {} tokens, and the model's has {}; make it "
                "with the model's vocab_size",
                constraint->vocab_size(), vocab_size);
  }
}

ConstrainedText::ConstrainedText(const Constraint& constraint, std::span<const TokenId> stop_tokens)
    : state_(constraint.fork()), stop_tokens_(stop_tokens), allowed_(constraint.vocab_size()) {
  look_ahead();
}

ConstrainedText ConstrainedText::fork() const {
  ConstrainedText other;
  other.state_ = state_->fork();
  other.stop_tokens_ = stop_tokens_;
  other.allowed_ = allowed_;
  other.complete_ = complete_;
  other.may_end_ = may_end_;
  return other;
}

void ConstrainedText::take(TokenId token) {
  if (may_end_ && is_stop(token)) {  // which is none of the constraint's
    complete_ = true;
    allowed_.forbid_all();
    return;
  }
  if (!state_->accept(token)) {
    throw_error(ErrorCode::run_failed,
                "a constraint allowed token {} and did not accept it; its allow_next() and "
                "accept() must agree",
                token);
  }
  look_ahead();
}

/// What may follow the state.
void ConstrainedText::look_ahead() {
  allowed_.forbid_all();
  state_->allow_next(allowed_);
  may_end_ = state_->may_end();
  complete_ = may_end_ && allowed_.count() == 0;
  for (const TokenId token : stop_tokens_) {
    if (may_end_) {
      allowed_.allow(token);
    } else if (allowed_.allows(token)) {
      // The constraint's own: a text that it does not complete would end too early.
      const bool accepted = state_->accept(token);
      const bool completes = accepted && state_->may_end();
      if (accepted) {
        state_->rollback(1);
      }
      if (!completes) {
        allowed_.forbid(token);
      }
    }
  }
}

bool ConstrainedText::is_stop(TokenId token) const noexcept {
  return std::ranges::find(stop_tokens_, token) != stop_tokens_.end();
}

}  // namespace kvcache::decoding
