#include "decoding/xgrammar/grammar_constraint.hpp"

#include <array>
#include <utility>
#include <vector>

#include "base/error_boundary.hpp"
#include "base/throw_error.hpp"

namespace kvcache::decoding::xgrammar {
namespace {

constexpr Meaning kForkGrammar{"the constraint's state was not copied", ErrorCode::run_failed,
                               ErrorCode::run_failed};

/// The methods of a matcher, looked up once.
struct Matcher {
  Function make{"GrammarMatcher", "__ffi_init__"};
  Function accept{"GrammarMatcher", "accept_token"};
  Function fill{"GrammarMatcher", "fill_next_token_bitmask"};
  Function rollback{"GrammarMatcher", "rollback"};
  Function fork{"GrammarMatcher", "fork"};
  Function is_completed{"GrammarMatcher", "is_completed"};

  static const Matcher& functions() {
    static const Matcher found;
    return found;
  }
};

/// Calls a method; what it throws is no fault of the grammar's.
template <std::size_t N>
Value called(const Function& method, const std::array<Any, N>& arguments) {
  try {
    return method(arguments);
  } catch (const CallFailed& failed) {
    throw_error(ErrorCode::run_failed, "xgrammar failed: {}", failed.message);
  }
}

class GrammarConstraint final : public Constraint {
 public:
  GrammarConstraint(Value matcher, std::shared_ptr<const TokenMask> usable, std::size_t accepted)
      : matcher_(std::move(matcher)),
        usable_(std::move(usable)),
        accepted_(accepted),
        words_(usable_->vocab_size() / TokenMask::kBits + 1) {}

  [[nodiscard]] std::size_t vocab_size() const noexcept override { return usable_->vocab_size(); }

  void allow_next(TokenMask& mask) const override {
    const auto shape = static_cast<std::int64_t>(words_.size());
    constexpr std::int64_t kContiguous = 1;
    Tensor tensor{.data = words_.data(), .shape = &shape, .strides = &kContiguous};
    called(Matcher::functions().fill,
           std::array{matcher_.any(), of_tensor(tensor), of_int(0), of_bool(false)});
    const std::span<std::uint32_t> words = mask.words();
    for (std::size_t word = 0; word < words.size(); ++word) {
      words[word] |= words_[word] & usable_->words()[word];
    }
  }

  [[nodiscard]] bool may_end() const override {
    return called(Matcher::functions().is_completed, std::array{matcher_.any()}).as_bool();
  }

  [[nodiscard]] bool accept(TokenId token) override {
    if (!usable_->allows(token)) {
      return false;
    }
    const bool accepted = called(Matcher::functions().accept,
                                 std::array{matcher_.any(), of_int(token), of_bool(false)})
                              .as_bool();
    accepted_ += accepted ? 1 : 0;
    return accepted;
  }

  void rollback(std::size_t tokens) override {
    if (tokens > accepted_) {
      throw_error(ErrorCode::invalid_argument,
                  "{} tokens were to be taken back from a constraint that has accepted {}; take "
                  "back at most these",
                  tokens, accepted_);
    }
    if (tokens > 0) {
      called(Matcher::functions().rollback,
             std::array{matcher_.any(), of_int(static_cast<std::int64_t>(tokens))});
      accepted_ -= tokens;
    }
  }

  [[nodiscard]] std::unique_ptr<Constraint> fork() const override try {
    return std::make_unique<GrammarConstraint>(
        called(Matcher::functions().fork, std::array{matcher_.any()}), usable_, accepted_);
  } catch (...) {
    rethrow_system_as_error(kForkGrammar);
  }

 private:
  Value matcher_;
  std::shared_ptr<const TokenMask> usable_;
  std::size_t accepted_;
  mutable std::vector<std::uint32_t> words_;  // scratch: a bit more than the vocabulary's
};

}  // namespace

std::unique_ptr<Constraint> constraint_of(const Value& grammar,
                                          std::shared_ptr<const TokenMask> usable) {
  const Any none;
  const std::array arguments{grammar.any(), none, of_bool(false), of_int(-1), none};
  return std::make_unique<GrammarConstraint>(Matcher::functions().make(arguments),
                                             std::move(usable), 0);
}

}  // namespace kvcache::decoding::xgrammar
