// Groups, liberties and captures.
#include "game/board.hpp"

#include <gtest/gtest.h>

#include "games.hpp"
#include "slow_rules.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"

namespace trigo::test::board_test {
namespace {

using kvcache::ErrorCode;
using kvcache::test::expect_error;
using kvcache::test::for_random_cases;
using kvcache::test::Random;
using test::position_after;
using test::stones_of;

TEST(TrigoGeometry, APointHasUpToSixNeighbours) {
  const Shape shape{3, 3, 3};
  const Geometry& cube = Geometry::of(shape);
  const auto count = [&](const char* text) {
    return cube.neighbours(parse_move(shape, text).point).size();
  };
  EXPECT_EQ(count("000"), 6U);  // the middle
  EXPECT_EQ(count("00a"), 5U);  // of a face
  EXPECT_EQ(count("0az"), 4U);  // of an edge
  EXPECT_EQ(count("zzz"), 3U);  // a corner
  EXPECT_EQ(Geometry::of({1, 1, 1}).neighbours(0).size(), 0U);
}

TEST(TrigoGeometry, ShapesAreRead) {
  EXPECT_EQ(parse_shape("5x5"), (Shape{5, 5, 1}));
  EXPECT_EQ(parse_shape("5x5x1"), (Shape{5, 5, 1}));
  EXPECT_EQ(parse_shape("3x4x19"), (Shape{3, 4, 19}));
  EXPECT_EQ(shape_text({5, 5, 1}), "5x5");
  EXPECT_EQ(shape_text({5, 1, 2}), "5x1x2");
  for (const char* text : {"", "5", "5x", "x5", "5x5x", "5x5x1x1", "5 x5", "5x-5", "ax5", "5x5 "}) {
    expect_error(ErrorCode::invalid_argument, "is no board; write its points per axis, such as",
                 [&] { parse_shape(text); });
  }
  expect_error(ErrorCode::invalid_argument, "an axis has 20 points, must have 1 to 19",
               [] { parse_shape("20x5"); });
  expect_error(ErrorCode::invalid_argument, "an axis has 0 points", [] { parse_shape("5x0"); });
  expect_error(ErrorCode::invalid_argument, "has 1331 points, must have at most 1024",
               [] { parse_shape("11x11x11"); });
  expect_error(ErrorCode::invalid_argument, "is no board",
               [] { parse_shape("99999999999999999999x5"); });
}

TEST(TrigoBoard, AStoneWithoutALibertyIsCaptured) {
  const Position position = position_after({3, 3, 1}, "a0 aa 0a");
  EXPECT_EQ(stones_of(position.board()), ".X.X.....");
  EXPECT_EQ(position.board().stones(Colour::white), 0U);
  EXPECT_EQ(position.board().stones(Colour::black), 2U);
}

TEST(TrigoBoard, OneMoveCapturesSeveralGroups) {
  EXPECT_EQ(stones_of(position_after({7, 1, 1}, "b c y x 0").board()), ".X.X.X.");
}

TEST(TrigoBoard, AWholeGroupIsCaptured) {
  EXPECT_EQ(stones_of(position_after({6, 1, 1}, "b 0 z x y").board()), ".X..XX");
}

TEST(TrigoBoard, InThreeDimensionsAllSixLibertiesMustGo) {
  const Shape cube{3, 3, 3};
  Position position = position_after(cube, "00a 000 00z aaa 0a0 aaz 0z0 zaa a00");
  EXPECT_EQ(position.board().liberties(parse_move(cube, "000").point), 1U);
  EXPECT_TRUE(
      position.board().is_liberty(parse_move(cube, "000").point, parse_move(cube, "z00").point));
  position.play(parse_move(cube, "zzz"));
  EXPECT_EQ(position.play(parse_move(cube, "z00")), 1U);
  EXPECT_TRUE(position.board().empty(parse_move(cube, "000").point));
}

TEST(TrigoBoard, GroupsMergeAndShareLiberties) {
  const Shape shape{5, 5, 1};
  const Position position = position_after(shape, "bb zz b0 zy 0b");
  const Board& board = position.board();
  const auto at = [&](const char* text) { return parse_move(shape, text).point; };
  EXPECT_TRUE(board.same_group(at("bb"), at("0b")));
  EXPECT_TRUE(board.same_group(at("b0"), at("0b")));
  EXPECT_EQ(board.group_size(at("bb")), 3U);
  EXPECT_EQ(board.liberties(at("0b")), 7U);  // 00 is one for two stones
}

/// Every group's liberties, and the effect of every stone, as counted anew.
void expect_as_counted(const Position& position, const test::SlowRules& slow) {
  const Board& board = position.board();
  for (const Point point : board.geometry().all()) {
    if (board.empty(point)) {
      for (const Colour colour : {Colour::black, Colour::white}) {
        EXPECT_EQ(board.is_suicide(point, colour), board.effect(point, colour).suicide());
      }
      continue;
    }
    const std::set<int> liberties = slow.liberties(point);
    ASSERT_EQ(board.liberties(point), liberties.size());
    ASSERT_EQ(board.group_size(point), slow.group(point).size());
    for (const Point other : board.geometry().all()) {
      ASSERT_EQ(board.is_liberty(point, other), liberties.contains(other));
    }
  }
}

TEST(TrigoBoard, LibertiesStayRightThroughRandomGames) {
  for_random_cases(1000, [](Random& random) {
    const Shape shape = test::random_shape(random, 40);
    SCOPED_TRACE(shape_text(shape));
    Position position(shape);
    test::SlowRules slow(shape.x, shape.y, shape.z);
    const std::size_t last = 2 * shape.points();
    while (!position.ended() && position.moves() < last) {
      const Move move = test::random_legal_move(random, position);
      position.play(move);
      ASSERT_TRUE(slow.play(move.is_pass() ? test::SlowRules::kPass : move.point));
      if (position.moves() % 3 == 0) {
        expect_as_counted(position, slow);
      }
    }
  });
}

}  // namespace
}  // namespace trigo::test::board_test
