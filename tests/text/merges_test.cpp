#include "text/merges.hpp"

#include <gtest/gtest.h>

#include <map>

#include "support/random_cases.hpp"

namespace kvcache::text {
namespace {

using Rules = std::map<std::pair<Id, Id>, Merge>;

/// The definition: of all rules that apply, the lowest rank, leftmost, until none does.
std::vector<Id> merged_by_definition(const Rules& rules, std::vector<Id> tokens) {
  for (;;) {
    const Merge* best = nullptr;
    std::size_t where = 0;
    for (std::size_t place = 0; place + 1 < tokens.size(); ++place) {
      const auto rule = rules.find({tokens[place], tokens[place + 1]});
      if (rule != rules.end() && (best == nullptr || rule->second.rank < best->rank)) {
        best = &rule->second;
        where = place;
      }
    }
    if (best == nullptr) {
      return tokens;
    }
    tokens[where] = best->merged;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

TEST(Merges, AreAppliedAsDefined) {
  test::for_random_cases(300, [](test::Random& random) {
    constexpr Id kLetters = 4;
    // Each rule makes a token of its own, so that no two make the same one.
    Rules rules;
    Merges merges;
    const auto count = static_cast<Id>(random.integer(0, 60));
    for (Id rank = 0; rank < count; ++rank) {
      const std::pair<Id, Id> pair{static_cast<Id>(random.integer(0, kLetters + rank - 1)),
                                   static_cast<Id>(random.integer(0, kLetters + rank - 1))};
      rules[pair] = {rank, kLetters + rank};
      merges.add(pair.first, pair.second, {rank, kLetters + rank});
    }
    EXPECT_EQ(merges.size(), rules.size());
    std::vector<Id> tokens(static_cast<std::size_t>(random.integer(0, 150)));
    for (Id& token : tokens) {
      token = static_cast<Id>(random.integer(0, kLetters - 1));
    }
    const std::vector<Id> expected = merged_by_definition(rules, tokens);
    merges.apply(tokens);
    EXPECT_EQ(tokens, expected);
  });
}

TEST(Merges, TakeNoLongerThanTheirLogarithm) {
  Merges merges;
  Id token = 0;
  for (Id rank = 0; rank < 18; ++rank, ++token) {
    merges.add(token, token, {rank, token + 1});
  }
  std::vector<Id> tokens(std::size_t{1} << 18U, 0);  // minutes, were it quadratic
  merges.apply(tokens);
  EXPECT_EQ(tokens, std::vector<Id>{18});
}

}  // namespace
}  // namespace kvcache::text
