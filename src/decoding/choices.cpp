#include "kvcache/choices.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/checked_json.hpp"
#include "base/error_boundary.hpp"
#include "base/throw_error.hpp"
#include "decoding/check_rollback.hpp"
#include "decoding/prefix_ranges.hpp"
#include "decoding/spelling.hpp"
#include "text/utf8.hpp"

namespace kvcache {
namespace {

using decoding::PrefixRange;
using decoding::PrefixRanges;
using decoding::Spelling;

constexpr Meaning kChoices{"the choices were not taken", ErrorCode::run_failed,
                           ErrorCode::run_failed};
constexpr Meaning kState{"the constraint's state was not found", ErrorCode::run_failed,
                         ErrorCode::run_failed};
constexpr std::size_t kMostChoiceBytes = std::size_t{1} << 28U;
constexpr std::size_t kMostChoiceTokens = std::size_t{1} << 25U;

/// Sequences of tokens, as Spelling is of texts: a token is a symbol.
class TokenSequences {
 public:
  TokenSequences(std::vector<std::vector<TokenId>> sequences, std::size_t vocab_size)
      : sequences_(std::move(sequences)), vocab_size_(vocab_size) {}

  [[nodiscard]] std::size_t vocab_size() const noexcept { return vocab_size_; }
  [[nodiscard]] PrefixRange begin() const noexcept { return sequences_.all(); }

  void allow_next(const PrefixRange& state, TokenMask& mask) const {
    sequences_.for_each_next(state, [&](TokenId token, const PrefixRange&) { mask.allow(token); });
  }

  [[nodiscard]] std::optional<PrefixRange> after(const PrefixRange& state, TokenId token) const {
    const PrefixRange found = sequences_.next(state, token);
    return found.size() > 0 ? std::optional(found) : std::nullopt;
  }

  [[nodiscard]] bool ends(const PrefixRange& state) const noexcept {
    return sequences_.ends(state);
  }

 private:
  PrefixRanges<std::vector<TokenId>> sequences_;
  std::size_t vocab_size_;
};

/// `Choices` is a Spelling or TokenSequences, which all forks share.
template <typename Choices>
class OneOf final : public Constraint {
 public:
  explicit OneOf(std::shared_ptr<const Choices> choices)
      : choices_(std::move(choices)), states_{choices_->begin()} {}

  [[nodiscard]] std::size_t vocab_size() const noexcept override { return choices_->vocab_size(); }

  void allow_next(TokenMask& mask) const override try {
    choices_->allow_next(states_.back(), mask);
  } catch (...) {
    rethrow_system_as_error(kState);
  }

  [[nodiscard]] bool may_end() const override { return choices_->ends(states_.back()); }

  [[nodiscard]] bool accept(TokenId token) override try {
    const std::optional<PrefixRange> state = choices_->after(states_.back(), token);
    if (state) {
      states_.push_back(*state);
    }
    return state.has_value();
  } catch (...) {
    rethrow_system_as_error(kState);
  }

  void rollback(std::size_t tokens) override {
    decoding::check_rollback(tokens, states_.size() - 1);
    states_.erase(states_.end() - static_cast<std::ptrdiff_t>(tokens), states_.end());
  }

  [[nodiscard]] std::unique_ptr<Constraint> fork() const override try {
    return std::make_unique<OneOf>(*this);
  } catch (...) {
    rethrow_system_as_error(kState);
  }

 private:
  std::shared_ptr<const Choices> choices_;
  std::vector<PrefixRange> states_;  // the first, and that after each token
};

template <typename Choice>
void check_lengths(std::span<const Choice> choices, std::size_t most, const char* of_what) {
  if (choices.empty()) {
    throw_error(ErrorCode::invalid_argument,
                "no choices were given, so that no text is allowed; give at least one");
  }
  std::size_t total = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (choices[i].empty()) {
      throw_error(ErrorCode::invalid_argument,
                  "choice {} of {} is empty, and every text begins with that; leave it out", i + 1,
                  choices.size());
    }
    total += choices[i].size();
  }
  if (total > most) {
    throw_error(ErrorCode::invalid_argument,
                "the {} choices have {} {} together, must have at most {}; give fewer or shorter "
                "ones",
                choices.size(), total, of_what, most);
  }
}

}  // namespace

std::unique_ptr<Constraint> one_of(std::span<const std::string> choices,
                                   const TokenBytes& tokens) try {
  check_lengths(choices, kMostChoiceBytes, "bytes");
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (const auto invalid = text::first_invalid_byte(choices[i])) {
      throw_error(ErrorCode::invalid_argument,
                  "choice {} of {}, {}, is not UTF-8 from byte {} on, so that no text equals it; "
                  "convert it",
                  i + 1, choices.size(), in_quotes(choices[i]), *invalid);
    }
  }
  return std::make_unique<OneOf<Spelling>>(std::make_shared<const Spelling>(
      std::vector<std::string>(choices.begin(), choices.end()), tokens.table()));
} catch (...) {
  rethrow_system_as_error(kChoices);
}

std::unique_ptr<Constraint> one_of(std::span<const std::vector<TokenId>> choices,
                                   std::size_t vocab_size) try {
  check_lengths(choices, kMostChoiceTokens, "tokens");
  for (std::size_t i = 0; i < choices.size(); ++i) {
    for (const TokenId token : choices[i]) {
      if (token < 0 || std::cmp_greater_equal(token, vocab_size)) {
        throw_error(ErrorCode::token_out_of_range,
                    "choice {} of {} has token {}, must be in [0, {}), the vocabulary", i + 1,
                    choices.size(), token, vocab_size);
      }
    }
  }
  return std::make_unique<OneOf<TokenSequences>>(std::make_shared<const TokenSequences>(
      std::vector<std::vector<TokenId>>(choices.begin(), choices.end()), vocab_size));
} catch (...) {
  rethrow_system_as_error(kChoices);
}

}  // namespace kvcache
