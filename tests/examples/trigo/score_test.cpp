// Areas, settled boards, and what an end is worth.
#include "game/score.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "games.hpp"
#include "slow_rules.hpp"
#include "support/random_cases.hpp"

namespace trigo::test::score_test {
namespace {

using kvcache::test::for_random_cases;
using kvcache::test::Random;
using test::position_after;

Area area_after(const Shape& shape, const std::string& words) {
  return area(position_after(shape, words).board());
}

TEST(TrigoScore, AnEmptyBoardIsNobodys) {
  const Area empty = area(Board(Geometry::of({5, 5, 1})));
  EXPECT_EQ(empty.neutral, 25);
  EXPECT_EQ(empty.difference(), 0);
}

TEST(TrigoScore, OneStoneOwnsTheBoard) {
  const Area one = area_after({5, 5, 1}, "00");
  EXPECT_EQ(one.black, 25);
  EXPECT_EQ(one.difference(), -25);
}

TEST(TrigoScore, RegionsThatTouchBothColoursAreNeutral) {
  // A row: . X . O . – the ends have an owner, the middle has none.
  const Area row = area_after({5, 1, 1}, "b y");
  EXPECT_EQ(row.black, 2);
  EXPECT_EQ(row.white, 2);
  EXPECT_EQ(row.neutral, 1);
  EXPECT_EQ(row.difference(), 0);
  const Area lead = area_after({6, 1, 1}, "b x");  // . X . O . .
  EXPECT_EQ(lead.difference(), 1);
}

TEST(TrigoScore, AWallDividesABox) {
  // Black's wall on x = b of 5 x 2 x 2, White's on x = 0.
  const Area box = area_after({5, 2, 2}, "b00 000 b0z 00z bz0 0z0 bzz 0zz");
  EXPECT_EQ(box.black, 8);
  EXPECT_EQ(box.white, 12);
  EXPECT_EQ(box.neutral, 0);
}

TEST(TrigoScore, TheSlowRulesAgreeInRandomGames) {
  for_random_cases(60, [](Random& random) {
    const Shape shape = test::random_shape(random, 40);
    Position position(shape);
    test::SlowRules slow(shape.x, shape.y, shape.z);
    for (std::int64_t move = random.integer(0, 50); move > 0 && !position.ended(); --move) {
      const Move played = test::random_legal_move(random, position);
      position.play(played);
      slow.play(played.is_pass() ? test::SlowRules::kPass : played.point);
    }
    const Area owned = area(position.board());
    ASSERT_EQ(owned.difference(), slow.score());
    ASSERT_EQ(static_cast<std::size_t>(owned.black + owned.white + owned.neutral), shape.points());
  });
}

TEST(TrigoScore, ABoardIsSettledWhereNothingIsNeutralAndMostPointsHaveStones) {
  const auto settled = [](const Shape& shape, const char* words) {
    return is_settled(position_after(shape, words).board());
  };
  EXPECT_TRUE(settled({5, 2, 2}, "b00 000 b0z 00z bz0 0z0 bzz 0zz a00 z00 a0z"));
  EXPECT_FALSE(settled({5, 2, 2}, "b00 000 b0z 00z bz0 0z0 bzz 0zz a00 z00"));  // half, no more
  EXPECT_FALSE(settled({5, 1, 1}, "b y"));                                      // one is neutral
  EXPECT_FALSE(settled({3, 1, 1}, "a Pass 0"));                                 // no stone of White
  EXPECT_TRUE(settled({5, 1, 1}, "b 0 Pass y"));
}

TEST(TrigoScore, AnEndsValueGrowsWithTheLeadUpToTheWholeBoard) {
  EXPECT_EQ(end_value(0, 25), 0);
  EXPECT_DOUBLE_EQ(end_value(25, 25), 1);
  EXPECT_DOUBLE_EQ(end_value(-25, 25), -1);
  EXPECT_DOUBLE_EQ(end_value(1, 25), 1 / (1 + std::log(25.0)));
  EXPECT_DOUBLE_EQ(end_value(-4, 27), -(1 + std::log(4.0)) / (1 + std::log(27.0)));
  EXPECT_DOUBLE_EQ(end_value(1, 1), 1);
}

}  // namespace
}  // namespace trigo::test::score_test
