// The rules: suicide, ko, passes, ends.
#include "game/position.hpp"

#include <gtest/gtest.h>

#include "games.hpp"
#include "rules/perft.hpp"
#include "slow_rules.hpp"
#include "support/random_cases.hpp"

namespace trigo::test::position_test {
namespace {

using kvcache::test::for_random_cases;
using kvcache::test::Random;
using test::is_legal;
using test::position_after;
using test::stones_of;

// White's stone at bb has its last liberty at 0b, where Black's stone will have only bb.
constexpr const char* kBeforeKo = "ba 0a ab yb b0 00 zz bb";
constexpr const char* kKo = "ba 0a ab yb b0 00 zz bb 0b";
constexpr Shape kFive{5, 5, 1};

TEST(TrigoPosition, BlackBeginsAndColoursAlternate) {
  Position position(kFive);
  EXPECT_EQ(position.to_move(), Colour::black);
  position.play(Move::pass());
  EXPECT_EQ(position.to_move(), Colour::white);
  EXPECT_EQ(position.moves(), 1U);
}

TEST(TrigoPosition, LegalMovesAreInTheOrderOfPointsThePassLast) {
  const Shape shape{2, 1, 2};
  const Position position = position_after(shape, "00z");
  std::string texts;
  for (const Move move : position.legal_moves()) {
    texts += move_text(shape, move) + " ";
  }
  EXPECT_EQ(texts, "000 z00 z0z Pass ");
}

TEST(TrigoPosition, SuicideIsIllegalOfOneStoneAndOfAGroup) {
  const Position corner = position_after({3, 3, 1}, "a0 zz 0a");
  EXPECT_FALSE(is_legal(corner, "aa"));
  EXPECT_STREQ(corner.why_illegal(parse_move({3, 3, 1}, "aa")),
               "its stone would have no liberty (suicide)");
  const Position group = position_after({5, 1, 1}, "0 b");
  EXPECT_EQ(group.to_move(), Colour::black);
  Position white_moves = group;
  white_moves.play(Move::pass());
  EXPECT_FALSE(is_legal(white_moves, "a"));  // b and a together
  EXPECT_TRUE(is_legal(white_moves, "y"));
  EXPECT_TRUE(is_legal(group, "a"));  // it captures b
}

TEST(TrigoPosition, AMoveThatCapturesIsNoSuicide) {
  const Position position = position_after(kFive, kBeforeKo);
  EXPECT_TRUE(is_legal(position, "0b"));
}

TEST(TrigoPosition, AKoIsNotTakenBackAtOnce) {
  const Position position = position_after(kFive, kKo);
  EXPECT_TRUE(position.board().empty(parse_move(kFive, "bb").point));
  EXPECT_FALSE(is_legal(position, "bb"));
  EXPECT_STREQ(position.why_illegal(parse_move(kFive, "bb")), "it takes a ko back at once");
}

TEST(TrigoPosition, AMoveElsewhereClearsAKo) {
  EXPECT_TRUE(is_legal(position_after(kFive, std::string(kKo) + " az za"), "bb"));
}

TEST(TrigoPosition, APassClearsAKo) {
  EXPECT_TRUE(is_legal(position_after(kFive, std::string(kKo) + " Pass za"), "bb"));
}

TEST(TrigoPosition, PositionsMayRepeat) {
  const Shape row{3, 1, 1};
  const Position first = position_after(row, "a z 0 z");
  const Position again = position_after(row, "a z 0 z 0 Pass z a 0 Pass a z");
  EXPECT_EQ(stones_of(first.board()), "..O");
  EXPECT_EQ(stones_of(again.board()), "..O");
  EXPECT_EQ(again.to_move(), first.to_move());
}

TEST(TrigoPosition, TwoStonesAreTakenBackAtOnce) {
  // Snapback: White takes the stone at a and stands in atari with two.
  const Position position = position_after({5, 1, 1}, "y 0 a b");
  EXPECT_EQ(stones_of(position.board()), ".OOX.");
  EXPECT_TRUE(is_legal(position, "a"));
  EXPECT_EQ(stones_of(position_after({5, 1, 1}, "y 0 a b a").board()), "X..X.");
}

TEST(TrigoPosition, TwoPassesEndTheGame) {
  const Position one = position_after(kFive, "aa Pass");
  EXPECT_FALSE(one.ended());
  const Position apart = position_after(kFive, "aa Pass bb Pass");
  EXPECT_FALSE(apart.ended());
  const Position two = position_after(kFive, "aa Pass Pass");
  EXPECT_TRUE(two.ended());
  EXPECT_TRUE(two.legal_moves().empty());
  EXPECT_FALSE(is_legal(two, "00"));
  EXPECT_STREQ(two.why_illegal(Move::pass()), "the game has ended by two passes");
}

TEST(TrigoPosition, OccupiedPointsAreIllegal) {
  const Position position = position_after(kFive, "aa");
  EXPECT_STREQ(position.why_illegal(parse_move(kFive, "aa")), "the point has a stone");
  EXPECT_STREQ(position.why_illegal({25}), "the board has no such point");
  EXPECT_STREQ(position.why_illegal(parse_move(kFive, "ab")), "");
}

TEST(TrigoPosition, TheSlowRulesAgreeInRandomGames) {
  for_random_cases(300, [](Random& random) {
    const Shape shape = test::random_shape(random, 30);
    SCOPED_TRACE(shape_text(shape));
    Position position(shape);
    test::SlowRules slow(shape.x, shape.y, shape.z);
    const std::size_t last = 3 * shape.points();
    while (!position.ended() && position.moves() < last) {
      std::vector<Move> expected;
      for (const Point point : Geometry::of(shape).all()) {
        if (slow.legal(point)) {
          expected.push_back({point});
        }
      }
      expected.push_back(Move::pass());
      ASSERT_EQ(position.legal_moves(), expected) << "after " << position.moves() << " moves";
      const Move move = test::random_legal_move(random, position);
      position.play(move);
      slow.play(move.is_pass() ? test::SlowRules::kPass : move.point);
      ASSERT_EQ(stones_of(position.board()), std::string(slow.cells().begin(), slow.cells().end()));
      ASSERT_EQ(position.ended(), slow.ended());
    }
  });
}

std::uint64_t slow_perft(const test::SlowRules& position, std::size_t depth) {
  if (depth == 0) {
    return 1;
  }
  std::uint64_t count = 0;
  for (int move = test::SlowRules::kPass; move < static_cast<int>(position.points()); ++move) {
    test::SlowRules next = position;
    if (next.play(move)) {
      count += slow_perft(next, depth - 1);
    }
  }
  return count;
}

struct PerftCase {
  Shape shape;
  std::vector<std::uint64_t> counts;
  std::size_t counted_slowly;  // the depths that the slow rules are asked for, too
};

TEST(TrigoPerft, CountsOfLegalSequences) {
  const PerftCase cases[]{
      {{2, 1, 1}, {3, 7, 8, 6, 2, 0, 0}, 7},
      {{2, 2, 1}, {5, 21, 68, 156, 316, 604, 1168, 2592, 5768}, 7},
      {{3, 2, 1}, {7, 43, 222, 934, 3242}, 5},
      {{3, 3, 1}, {10, 91, 738, 5281, 33384}, 4},
      {{2, 2, 2}, {9, 73, 520, 3256, 17640}, 4},
      {{3, 3, 3}, {28, 757, 19710, 494235}, 2},
  };
  for (const PerftCase& known : cases) {
    const Shape& shape = known.shape;
    EXPECT_EQ(perft(Position(shape), known.counts.size()), known.counts) << shape_text(shape);
    for (std::size_t depth = 1; depth <= known.counted_slowly; ++depth) {
      EXPECT_EQ(slow_perft(test::SlowRules(shape.x, shape.y, shape.z), depth),
                known.counts[depth - 1])
          << shape_text(shape) << ", depth " << depth;
    }
  }
}

}  // namespace
}  // namespace trigo::test::position_test
