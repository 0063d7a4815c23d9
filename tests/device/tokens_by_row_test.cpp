// Tokens in the order of their rows, for random lists.
#include "device/tokens_by_row.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::device {
namespace {

TEST(TokensByRow, HaveEachRowOnceAndEachTokenInIt) {
  test::for_random_cases(200, [](test::Random& random) {
    std::vector<RowToken> tokens;
    for (std::int64_t left = random.integer(0, 40); left > 0; --left) {
      tokens.push_back({static_cast<std::size_t>(random.integer(0, 6)), random.integer(0, 3)});
    }
    if (random.chance(0.3)) {
      std::ranges::sort(tokens, {}, &RowToken::row);
    }
    const TokensByRow by_row(tokens);
    std::set<std::size_t> rows;
    std::vector<std::size_t> places;
    for (const TokensByRow::Row& row : by_row.rows()) {
      EXPECT_TRUE(rows.insert(row.row).second) << "row " << row.row << " is there twice";
      EXPECT_LT(row.begin, row.end);
      EXPECT_EQ(row.begin, places.size());
      for (const std::size_t place : by_row.order().subspan(row.begin, row.end - row.begin)) {
        EXPECT_EQ(tokens.at(place).row, row.row);
        places.push_back(place);
      }
    }
    std::ranges::sort(places);
    ASSERT_EQ(places.size(), tokens.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      EXPECT_EQ(places[i], i);
    }
  });
}

}  // namespace
}  // namespace kvcache::device
