// The tactical positions: read, refused, and solved by rollouts.
#include "selfplay/tactics.hpp"

#include <gtest/gtest.h>

#include "games.hpp"
#include "selfplay/players.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace trigo::test::tactics_test {
namespace {

using kvcache::ErrorCode;
using kvcache::test::expect_error;

TEST(TrigoTactics, RolloutsFindTheRightMoveOfEachPosition) {
  const auto tactics = read_tactics(KVCACHE_TRIGO_TACTICS);
  ASSERT_EQ(tactics.size(), 10U);
  const auto player = make_player({PlayerName::Kind::rollouts, 3000}, {});
  std::size_t of_black = 0;
  std::size_t in_space = 0;
  for (const Tactic& tactic : tactics) {
    SCOPED_TRACE(tactic.name);
    EXPECT_EQ(tactic.right.size(), 1U);
    of_black += tactic.moves.size() % 2 == 0 ? 1U : 0U;
    in_space += tactic.shape.z > 1 ? 1U : 0U;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      const TacticAnswer answer = answer_to(tactic, *player, seed);
      EXPECT_TRUE(answer.right) << move_text(tactic.shape, answer.found) << ", seed " << seed;
      const bool white = tactic.moves.size() % 2 == 1;
      EXPECT_GT(white ? answer.value - answer.others : answer.others - answer.value, 0.1);
    }
  }
  EXPECT_EQ(of_black, 6U);
  EXPECT_EQ(in_space, 3U);
}

TEST(TrigoTactics, WhatIsNoneIsToldWithItsPlace) {
  const kvcache::test::TemporaryDirectory directory;
  const auto file = directory.path() / "tactics.json";
  const auto expect = [&](const std::string& text, const std::string& part) {
    kvcache::test::write_file(file, text);
    expect_error(ErrorCode::invalid_argument, part, [&] { read_tactics(file); });
  };
  const auto with = [](const std::string& board, const std::string& moves,
                       const std::string& right) {
    return R"([{"name": "n", "why": "w", "board": )" + board + R"(, "moves": )" + moves +
           R"(, "right": )" + right + "}]";
  };
  kvcache::test::write_file(file, with("[5, 5, 1]", R"(["aa"])", R"(["ab", "Pass"])"));
  EXPECT_EQ(read_tactics(file).front().right.size(), 2U);
  expect("", "tactics.json");
  expect("{}", "must be an array");
  expect(R"([{"name": 1}])", "tactics.json");
  expect(with("[5, 5]", "[]", R"(["aa"])"), "must have three numbers");
  expect(with("[5, 5, 1]", R"(["aa", "aa"])", R"(["ab"])"),
         "must be a legal move; the point has a stone");
  expect(with("[5, 5, 1]", R"(["aa"])", R"(["cc"])"), "\"cc\" is no move");
  expect(with("[5, 5, 1]", R"(["aa"])", "[]"), "must have a move");
  expect_error(ErrorCode::invalid_argument, "cannot read the file /missing",
               [] { read_tactics("/missing"); });
}

}  // namespace
}  // namespace trigo::test::tactics_test
