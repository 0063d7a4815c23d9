#include "inference/token_history.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::inference {
namespace {

using test::Random;

constexpr std::size_t kCapacity = 40;

void append(TokenHistory& history, const std::vector<TokenId>& tokens) {
  history.prepare_append();
  history.append(tokens);
}

std::vector<TokenId> tokens_of(const TokenHistory& history) {
  return {history.tokens().begin(), history.tokens().end()};
}

std::vector<TokenId> tokens_of(const TokenHistory::Prefix& prefix) {
  return {prefix.tokens().begin(), prefix.tokens().end()};
}

/// A history, and the same without anything that is shared: each token has a number of its own, so
/// that equal numbers mean a common past.
struct Known {
  TokenHistory history{kCapacity};
  std::vector<TokenId> tokens;
  std::vector<std::uint64_t> numbers;
};

struct KnownPrefix {
  TokenHistory::Prefix prefix;
  std::vector<TokenId> tokens;
  std::vector<std::uint64_t> numbers;
};

bool begins_with(const std::vector<std::uint64_t>& all, const std::vector<std::uint64_t>& first) {
  return first.size() <= all.size() && std::equal(first.begin(), first.end(), all.begin());
}

class RandomHistories {
 public:
  explicit RandomHistories(Random& random) : random_(random) { histories_.emplace_back(); }

  void step() {
    Known& any = histories_[static_cast<std::size_t>(
        random_.integer(0, static_cast<std::int64_t>(histories_.size()) - 1))];
    switch (random_.integer(0, 6)) {
      case 0:
        return fork(any);
      case 1:
        return shrink(any);
      case 2:
        return erase(any);
      case 3:
        prefixes_.push_back({any.history.prefix(), any.tokens, any.numbers});
        return;
      case 4:
        return forget();
      default:
        return extend(any);
    }
  }

  void check() const {
    for (const Known& known : histories_) {
      ASSERT_EQ(tokens_of(known.history), known.tokens);
      for (const Known& other : histories_) {
        ASSERT_EQ(known.history.shares_all(other.history), known.numbers == other.numbers);
      }
      for (const KnownPrefix& prefix : prefixes_) {
        ASSERT_EQ(tokens_of(prefix.prefix), prefix.tokens) << "was written to";
        ASSERT_EQ(known.history.shares(prefix.prefix), begins_with(known.numbers, prefix.numbers));
      }
    }
  }

 private:
  [[nodiscard]] std::size_t up_to(std::size_t most) {
    return static_cast<std::size_t>(random_.integer(0, static_cast<std::int64_t>(most)));
  }

  void extend(Known& known) {
    std::vector<TokenId> tokens(up_to(std::min<std::size_t>(5, kCapacity - known.tokens.size())));
    std::ranges::generate(tokens, [&] { return random_.integer(0, 2); });
    append(known.history, tokens);
    known.tokens.insert(known.tokens.end(), tokens.begin(), tokens.end());
    number_from(known, known.numbers.size());
  }

  void fork(const Known& known) {
    if (histories_.size() < 6) {
      histories_.push_back({known.history.fork(), known.tokens, known.numbers});
    }
  }

  void shrink(Known& known) {
    const std::size_t length = up_to(known.tokens.size());
    known.history.shrink_to(length);
    known.tokens.resize(length);
    known.numbers.resize(length);
  }

  void erase(Known& known) {
    const std::size_t first = up_to(known.tokens.size());
    const std::size_t count = up_to(known.tokens.size() - first);
    known.history.prepare_erase();
    known.history.erase(first, count);
    const auto begin = known.tokens.begin() + static_cast<std::ptrdiff_t>(first);
    known.tokens.erase(begin, begin + static_cast<std::ptrdiff_t>(count));
    known.numbers.clear();
    number_from(known, 0);
  }

  void forget() {
    if (!prefixes_.empty()) {
      prefixes_.erase(prefixes_.begin() + static_cast<std::ptrdiff_t>(up_to(prefixes_.size() - 1)));
    }
  }

  void number_from(Known& known, std::size_t first) {
    for (std::size_t i = first; i < known.tokens.size(); ++i) {
      known.numbers.push_back(++last_number_);
    }
  }

  Random& random_;
  std::vector<Known> histories_;
  std::vector<KnownPrefix> prefixes_;
  std::uint64_t last_number_ = 0;
};

TEST(TokenHistory, SharesWhatHasACommonPastAndNothingElse) {
  test::for_random_cases(300, [](Random& random) {
    RandomHistories histories(random);
    for (int i = 0; i < 100 && !testing::Test::HasFatalFailure(); ++i) {
      histories.step();
      histories.check();
    }
  });
}

TEST(TokenHistory, APrefixIsTheVeryTokens) {
  TokenHistory history(kCapacity);
  append(history, {1, 2, 3});
  const TokenHistory::Prefix prefix = history.prefix();
  EXPECT_EQ(prefix.tokens().data(), history.tokens().data());
  append(history, {4});  // behind what is remembered: nothing moves
  EXPECT_EQ(prefix.tokens().data(), history.tokens().data());
  history.shrink_to(3);
  append(history, {5});
  EXPECT_EQ(prefix.tokens().data(), history.tokens().data());
  history.shrink_to(2);
  append(history, {6});  // where it is remembered
  EXPECT_NE(prefix.tokens().data(), history.tokens().data());
  EXPECT_EQ(tokens_of(prefix), (std::vector<TokenId>{1, 2, 3}));
  EXPECT_EQ(tokens_of(history), (std::vector<TokenId>{1, 2, 6}));
}

TEST(TokenHistory, WritesInPlaceWhatNobodyRemembers) {
  TokenHistory history(kCapacity);
  append(history, {1, 2, 3});
  const TokenId* const place = history.tokens().data();
  { const TokenHistory::Prefix prefix = history.prefix(); }
  history.shrink_to(0);
  append(history, {4, 5});
  EXPECT_EQ(history.tokens().data(), place);
}

TEST(TokenHistory, AppendsItsOwnTokensAlsoWhereTheyMove) {
  TokenHistory history(kCapacity);
  append(history, {1, 2, 3, 4});
  TokenHistory::Prefix prefix = history.prefix();
  history.shrink_to(3);
  const std::span<const TokenId> own = history.tokens().first(2);
  history.prepare_append();
  { const TokenHistory::Prefix gone = std::move(prefix); }
  history.prepare_append();  // of another attempt
  history.append(own);
  EXPECT_EQ(tokens_of(history), (std::vector<TokenId>{1, 2, 3, 1, 2}));
}

TEST(TokenHistory, APrefixOutlivesItsHistory) {
  auto history = std::make_unique<TokenHistory>(kCapacity);
  append(*history, {1, 2});
  const TokenHistory::Prefix prefix = history->prefix();
  history.reset();
  EXPECT_EQ(tokens_of(prefix), (std::vector<TokenId>{1, 2}));
}

}  // namespace
}  // namespace kvcache::inference
