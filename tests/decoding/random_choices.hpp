// Random vocabularies, and texts to choose from.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "kvcache/constraint.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"

namespace kvcache::test {

/// Of a few letters, alone and joined, so that random texts share beginnings and spellings; maybe
/// some of the letters only with others.
inline std::vector<std::string> random_vocabulary(Random& random, bool every_letter) {
  const std::string letters = "abc\xC3\xA9";
  std::vector<std::string> tokens{"", "</s>"};  // special ones are no text
  tokens.back().clear();
  for (const char letter : letters) {
    if (every_letter || random.chance(0.7)) {
      tokens.emplace_back(1, letter);
    }
  }
  for (std::int64_t i = random.integer(0, 12); i > 0; --i) {
    std::string token;
    for (std::int64_t length = random.integer(2, 4); length > 0; --length) {
      token += random.pick(letters);
    }
    tokens.push_back(token);  // maybe twice
  }
  return tokens;
}

inline std::vector<std::string> random_texts(Random& random) {
  std::vector<std::string> texts;
  for (std::int64_t i = random.integer(1, 8); i > 0; --i) {
    std::string text;
    for (std::int64_t length = random.integer(1, 6); length > 0; --length) {
      text += random.pick(std::vector<std::string>{"a", "b", "c", "é"});
    }
    texts.push_back(text);
  }
  return texts;
}

/// The tokens that may follow, in the order of ids.
inline std::vector<TokenId> allowed_by(const Constraint& constraint) {
  TokenMask mask(constraint.vocab_size());
  constraint.allow_next(mask);
  std::vector<TokenId> tokens = mask.tokens(mask.vocab_size());
  EXPECT_EQ(mask.count(), tokens.size());
  return tokens;
}

/// Random tokens that are allowed, taken back and forked: after each step it is as a fork of
/// `fresh` that accepts the same tokens. Calls also(constraint) then.
template <typename Also>
void expect_forks_and_rollbacks_as_fresh(Random& random, const Constraint& fresh,
                                         const Also& also) {
  std::unique_ptr<Constraint> constraint = fresh.fork();
  std::vector<TokenId> accepted;
  for (int step = 0; step < 30; ++step) {
    const std::vector<TokenId> allowed = allowed_by(*constraint);
    if (random.chance(0.3) || allowed.empty()) {
      const std::int64_t count = random.integer(0, std::ssize(accepted));
      constraint->rollback(static_cast<std::size_t>(count));
      accepted.resize(accepted.size() - static_cast<std::size_t>(count));
    } else {
      accepted.push_back(random.pick(allowed));
      ASSERT_TRUE(constraint->accept(accepted.back()));
    }
    if (random.chance(0.2)) {
      const auto other = constraint->fork();
      for (const TokenId token : allowed_by(*constraint)) {
        static_cast<void>(constraint->accept(token));  // goes its own way
      }
      constraint = other->fork();
    }
    const auto again = fresh.fork();
    for (const TokenId token : accepted) {
      ASSERT_TRUE(again->accept(token));
    }
    ASSERT_EQ(allowed_by(*constraint), allowed_by(*again));
    ASSERT_EQ(constraint->may_end(), again->may_end());
    also(*constraint);
  }
  expect_error(ErrorCode::invalid_argument, "from a constraint that has accepted",
               [&] { constraint->rollback(accepted.size() + 1); });
}

}  // namespace kvcache::test
