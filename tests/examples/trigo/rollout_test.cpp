// Random games: they end, fill no eyes, and favour whom the position favours.
#include "search/rollout.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "games.hpp"
#include "kvcache/error.hpp"
#include "selfplay/players.hpp"
#include "support/random_cases.hpp"

namespace trigo::test::rollout_test {
namespace {

using kvcache::test::for_random_cases;

constexpr Shape kFive{5, 5, 1};

TEST(TrigoRollout, KnowsEyes) {
  const Position position = test::position_after(kFive, "ab zz ba zy bb");
  const auto fills = [&](const char* text, Colour colour) {
    return fills_own_eye(position.board(), parse_move(kFive, text).point, colour);
  };
  EXPECT_TRUE(fills("aa", Colour::black));
  EXPECT_FALSE(fills("aa", Colour::white));
  EXPECT_FALSE(fills("a0", Colour::black));
  // Of a stone in danger it is no eye: the point is its last liberty.
  const Position danger = test::position_after(kFive, "ab zz ba 0a zy bb");
  EXPECT_FALSE(fills_own_eye(danger.board(), parse_move(kFive, "aa").point, Colour::black));
}

TEST(TrigoRollout, RandomMovesAreLegalAndFillNoEyes) {
  for_random_cases(50, [](kvcache::test::Random& random) {
    Position position(test::random_shape(random, 40));
    Random chance(static_cast<std::uint64_t>(random.integer(0, 1 << 30)));
    std::vector<Point> scratch;
    std::size_t moves = 0;
    while (!position.ended() && ++moves < 1000) {
      const Move move = random_move(position, chance, scratch);
      ASSERT_TRUE(position.is_legal(move));
      const auto sensible = [&](Move other) {
        return !other.is_pass() &&
               !fills_own_eye(position.board(), other.point, position.to_move());
      };
      // A pass where there is nothing else, and only there.
      ASSERT_EQ(sensible(move), std::ranges::any_of(position.legal_moves(), sensible));
      position.play(move);
    }
  });
}

TEST(TrigoRollout, EachSensibleMoveIsAsLikely) {
  const Position position = test::position_after({3, 1, 1}, "");
  Random random(11);
  std::vector<Point> scratch;
  std::vector<int> counts(3);
  for (int i = 0; i < 6000; ++i) {
    ++counts[random_move(position, random, scratch).point];
  }
  for (const int count : counts) {
    EXPECT_NEAR(count, 2000, 150);
  }
}

TEST(TrigoRollout, TheValueIsWhites) {
  Random random(1);
  const auto mean = [&](const Position& position) {
    double sum = 0;
    for (int i = 0; i < 400; ++i) {
      sum += rollout(position, random);
    }
    return sum / 400;
  };
  // Two walls side by side; the one whose side is larger has the better half of the board.
  EXPECT_GT(mean(test::position_after(kFive, "a0 0a az 0b aa 00 Pass 0y Pass 0z")), 0.5);
  EXPECT_LT(mean(test::position_after(kFive, "0a a0 0b az 00 aa 0y Pass 0z Pass")), -0.5);
}

TEST(TrigoRollout, ARolloutFromAnEndIsItsValue) {
  Random random(1);
  EXPECT_EQ(rollout(test::position_after(kFive, "aa Pass Pass"), random), -1);
}

TEST(TrigoPlayers, AreReadByName) {
  using Kind = PlayerName::Kind;
  EXPECT_EQ(parse_player("model", 50), (PlayerName{Kind::model, 50}));
  EXPECT_EQ(parse_player("model:7", 50), (PlayerName{Kind::model, 7}));
  EXPECT_EQ(parse_player("rollouts:1000", 50), (PlayerName{Kind::rollouts, 1000}));
  EXPECT_EQ(parse_player("random", 50), (PlayerName{Kind::random, 0}));
  EXPECT_EQ(player_text(parse_player("rollouts", 3)), "rollouts:3");
  EXPECT_EQ(player_text(parse_player("random", 3)), "random");
  for (const char* text : {"", "models", "model:", "model:0", "model:x", "model:1:2", "random:3",
                           "rollouts:-1", "rollouts:99999999", "random:"}) {
    EXPECT_THROW(parse_player(text, 50), kvcache::Error) << text;
  }
}

}  // namespace
}  // namespace trigo::test::rollout_test
