#include "decoding/xgrammar/grammar_constraint.hpp"

#include <array>
#include <utility>
#include <vector>

#include "base/error_boundary.hpp"
#include "base/throw_error.hpp"
#include "decoding/check_rollback.hpp"

namespace kvcache::decoding::xgrammar {
namespace {

constexpr Meaning kGrammarState{"the constraint's state was not found", ErrorCode::run_failed,
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
  GrammarConstraint(Value matcher, std::shared_ptr<const TextTokens> tokens,
                    std::vector<Within> within)
      : matcher_(std::move(matcher)),
        tokens_(std::move(tokens)),
        within_(std::move(within)),
        words_(tokens_->vocab_size() / TokenMask::kBits + 1) {}

  [[nodiscard]] std::size_t vocab_size() const noexcept override { return tokens_->vocab_size(); }

  void allow_next(TokenMask& mask) const override {
    const auto shape = static_cast<std::int64_t>(words_.size());
    constexpr std::int64_t kContiguous = 1;
    Tensor tensor{.data = words_.data(), .shape = &shape, .strides = &kContiguous};
    called(Matcher::functions().fill,
           std::array{matcher_.any(), of_tensor(tensor), of_int(0), of_bool(false)});
    const std::span<std::uint32_t> words = mask.words();
    const std::span<const std::uint32_t> of_text = tokens_->allowed(within_.back()).words();
    for (std::size_t word = 0; word < words.size(); ++word) {
      words[word] |= words_[word] & of_text[word];
    }
  }

  [[nodiscard]] bool may_end() const override {
    return called(Matcher::functions().is_completed, std::array{matcher_.any()}).as_bool();
  }

  [[nodiscard]] bool accept(TokenId token) override try {
    if (!tokens_->allowed(within_.back()).allows(token)) {
      return false;
    }
    if (within_.size() == within_.capacity()) {  // so that nothing fails after it was accepted
      within_.reserve(2 * within_.size());
    }
    const bool accepted = called(Matcher::functions().accept,
                                 std::array{matcher_.any(), of_int(token), of_bool(false)})
                              .as_bool();
    if (accepted) {
      within_.push_back(tokens_->after(within_.back(), token));
    }
    return accepted;
  } catch (...) {
    rethrow_system_as_error(kGrammarState);
  }

  void rollback(std::size_t tokens) override {
    check_rollback(tokens, within_.size() - 1);
    if (tokens > 0) {
      called(Matcher::functions().rollback,
             std::array{matcher_.any(), of_int(static_cast<std::int64_t>(tokens))});
      within_.resize(within_.size() - tokens);
    }
  }

  [[nodiscard]] std::unique_ptr<Constraint> fork() const override try {
    return std::make_unique<GrammarConstraint>(
        called(Matcher::functions().fork, std::array{matcher_.any()}), tokens_, within_);
  } catch (...) {
    rethrow_system_as_error(kGrammarState);
  }

 private:
  Value matcher_;
  std::shared_ptr<const TextTokens> tokens_;
  std::vector<Within> within_;                // at the beginning, and after each token
  mutable std::vector<std::uint32_t> words_;  // scratch: a bit more than the vocabulary's
};

}  // namespace

std::unique_ptr<Constraint> constraint_of(const Value& grammar,
                                          std::shared_ptr<const TextTokens> tokens) {
  const Any none;
  const std::array arguments{grammar.any(), none, of_bool(false), of_int(-1), none};
  return std::make_unique<GrammarConstraint>(Matcher::functions().make(arguments),
                                             std::move(tokens), std::vector{Within::none});
}

}  // namespace kvcache::decoding::xgrammar
