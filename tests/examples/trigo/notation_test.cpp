// Coordinates and games as text.
#include "game/notation.hpp"

#include <gtest/gtest.h>

#include <set>

#include "game/drawing.hpp"
#include "game/score.hpp"
#include "games.hpp"
#include "support/models.hpp"
#include "support/random_cases.hpp"

namespace trigo::test::notation_test {
namespace {

using kvcache::ErrorCode;
using kvcache::test::expect_error;
using kvcache::test::for_random_cases;
using kvcache::test::Random;

std::string letters(int axis) {
  std::string text;
  for (int index = 0; index < axis; ++index) {
    text += point_text({axis, 1, 1}, static_cast<Point>(index));
  }
  return text;
}

TEST(TrigoNotation, CoordinatesOfEachSizeOfAnAxis) {
  EXPECT_EQ(letters(1), "0");
  EXPECT_EQ(letters(2), "0z");
  EXPECT_EQ(letters(3), "a0z");
  EXPECT_EQ(letters(4), "a0yz");
  EXPECT_EQ(letters(5), "ab0yz");
  EXPECT_EQ(letters(19), "abcdefghi0rstuvwxyz");
}

TEST(TrigoNotation, TrailingAxesOfOnePointAreLeftOut) {
  EXPECT_EQ(point_text({5, 5, 1}, 7), "b0");
  EXPECT_EQ(point_text({5, 1, 1}, 4), "z");
  EXPECT_EQ(point_text({1, 5, 1}, 4), "0z");
  EXPECT_EQ(point_text({1, 1, 3}, 0), "00a");
  EXPECT_EQ(point_text({3, 4, 5}, 59), "zzz");
  EXPECT_EQ(move_text({3, 4, 5}, Move::pass()), "Pass");
}

TEST(TrigoNotation, EveryPointIsReadAsWritten) {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 3, 4}, Shape{19, 19, 2}, Shape{5, 1, 1}}) {
    std::set<std::string> seen;
    for (const Point point : Geometry::of(shape).all()) {
      const std::string text = point_text(shape, point);
      EXPECT_EQ(parse_move(shape, text), Move{point});
      EXPECT_TRUE(seen.insert(text).second);
    }
  }
  EXPECT_TRUE(parse_move({5, 5, 1}, "Pass").is_pass());
}

TEST(TrigoNotation, WhatIsNoMoveIsTold) {
  for (const char* text : {"", "a", "aaa", "ac", "pass", "PASS", "Pas", "a ", "\x01\xff", "1a"}) {
    expect_error(ErrorCode::invalid_argument,
                 "is no move on a board of 5x5; a move is Pass or a point's coordinates, one of "
                 "ab0yz, then one of ab0yz",
                 [&] {
                   parse_move({5, 5, 1}, text);
                 });
  }
}

TEST(TrigoNotation, AppendedTextIsTheGamesText) {
  const Shape shape{5, 5, 1};
  EXPECT_EQ(header_text(shape), "[Board 5x5]\n\n");
  EXPECT_EQ(header_text({5, 5, 5}), "[Board 5x5x5]\n\n");
  EXPECT_EQ(appended_text(shape, 0, {0}), "1. aa ");
  EXPECT_EQ(appended_text(shape, 1, {24}), "zz\n");
  EXPECT_EQ(appended_text(shape, 18, Move::pass()), "10. Pass ");
  const auto moves = test::moves_of(shape, "aa Pass 00");
  EXPECT_EQ(game_text(shape, moves, {}), "[Board 5x5]\n\n1. aa Pass\n2. 00 ");
  EXPECT_EQ(game_text(shape, moves, -25), "[Board 5x5]\n\n1. aa Pass\n2. 00\n; -25\n");
  EXPECT_EQ(game_text(shape, test::moves_of(shape, "aa zz"), 0), "[Board 5x5]\n\n1. aa zz\n; 0\n");
  EXPECT_EQ(result_text(3), "; +3\n");
}

TEST(TrigoNotation, RandomGamesAreReadAsWritten) {
  for_random_cases(200, [](Random& random) {
    const Shape shape = test::random_shape(random, 60);
    Position position(shape);
    std::vector<Move> moves;
    for (std::int64_t left = random.integer(0, 80); left > 0 && !position.ended(); --left) {
      moves.push_back(test::random_legal_move(random, position));
      position.play(moves.back());
    }
    const auto difference =
        random.chance(0.5) ? std::optional(area(position.board()).difference()) : std::nullopt;
    const GameRecord record = parse_game(game_text(shape, moves, difference));
    ASSERT_EQ(record.shape, shape);
    ASSERT_EQ(record.moves, moves);
    ASSERT_EQ(record.difference, difference);
  });
}

TEST(TrigoNotation, WhiteSpaceBetweenWordsDoesNotMatter) {
  const GameRecord record = parse_game("[Board 5x5x1]\r\n\r\n1.  aa\tzz\r\n\n2. 00\n; -1 \r\n");
  EXPECT_EQ(record.moves.size(), 3U);
}

TEST(TrigoNotation, WhatIsNoGameIsToldWithItsLine) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "line 1 of the game begins with \"\", must begin with the board"},
      {"1. aa", "must begin with the board, such as [Board 5x5]"},
      {"[Board 5x5", "must begin with the board"},
      {"[Board 5]\n\n", "line 1 of the game has an unusable board: \"5\" is no board"},
      {"[Board 50x5]\n\n", "an axis has 50 points"},
      {"[Board 5x5]\n\naa", "line 3 of the game has \"aa\" where the number 1. must be"},
      {"[Board 5x5]\n\n1.", "ends behind the number 1.; a move must follow"},
      {"[Board 5x5]\n\n1. aa zz\n3. 00", "line 4 of the game has \"3.\" where the number 2. must"},
      {"[Board 5x5]\n\n1. aa aa", "the move aa as its move 2, which is illegal: the point has a"},
      {"[Board 5x5]\n\n1. cc", "has no move as its move 1: \"cc\" is no move on a board of 5x5"},
      {"[Board 5x5]\n\n1. Pass Pass\n2. aa", "has \"2.\" behind two passes, which end a game"},
      {"[Board 5x5]\n\n1. aa zz\n; +1\n", "has the result \"; +1\", must be \"; 0\""},
      {"[Board 5x5]\n\n1. aa\n; 25\n", "must be \"; -25\""},
      {"[Board 5x5]\n\n1. aa\n; -25\nzz", "line 5 of the game has \"zz\" behind the result"},
      {std::string("[Board 5x5]\n\n1. a\0", 18), "\"a\\u0000\" is no move"},
      {"[Board 5x5]" + std::string(2'000'000, '\n'), "has 2000011 bytes, a game has 1048576 at"},
  };
  for (const auto& known : cases) {
    SCOPED_TRACE(known.first.substr(0, 60));
    expect_error(ErrorCode::invalid_argument, known.second, [&] { parse_game(known.first); });
  }
}

TEST(TrigoNotation, ChangedBytesAreAnErrorOrAnotherGame) {
  const Shape shape{3, 3, 1};
  const std::string good = game_text(shape, test::moves_of(shape, "aa 00 zz a0 Pass Pass"), 0);
  for_random_cases(300, [&](Random& random) {
    std::string text = good;
    for (std::int64_t changes = random.integer(1, 3); changes > 0; --changes) {
      const auto at =
          static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(text.size()) - 1));
      text[at] = random.chance(0.5) ? random.pick(good) : static_cast<char>(random.integer(0, 255));
    }
    try {
      const GameRecord record = parse_game(text);
      const GameRecord again = parse_game(game_text(record.shape, record.moves, record.difference));
      EXPECT_EQ(again.moves, record.moves);
    } catch (const kvcache::Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    }
  });
}

TEST(TrigoDrawing, ShowsLayersSideBySideAndTheLastMove) {
  const Shape shape{3, 2, 2};
  const Position position = test::position_after(shape, "a00 zzz");
  EXPECT_EQ(drawing(position.board(), parse_move(shape, "zzz")),
            "0  a  0  z     z  a  0  z \n"
            "0  X  .  .     0  .  .  . \n"
            "z  .  .  .     z  .  . (O)\n");
}

}  // namespace
}  // namespace trigo::test::notation_test
