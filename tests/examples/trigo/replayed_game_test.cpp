// What trigo_rules answers.
#include "rules/replayed_game.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "games.hpp"

namespace trigo::test::replayed_game_test {
namespace {

using Json = nlohmann::json;

Json answer(const std::string& line) { return Json::parse(replay_line(line)); }

TEST(TrigoReplay, TellsEachPosition) {
  const Json found = answer(R"({"board": [3, 1, 1], "moves": ["a", "z", "0", "Pass", "Pass"]})");
  EXPECT_EQ(found["legal"][0], Json({"a", "0", "z", "Pass"}));
  EXPECT_EQ(found["legal"][3], Json({"z", "Pass"}));
  EXPECT_EQ(found["legal"][5], Json::array());
  EXPECT_EQ(found["stones"], Json({"...", "X..", "X.O", "XX.", "XX.", "XX."}));
  EXPECT_EQ(found["ended"], Json({false, false, false, false, false, true}));
  EXPECT_EQ(found["score"], -3);
  EXPECT_EQ(found["tgn"], "[Board 3x1]\n\n1. a z\n2. 0 Pass\n3. Pass\n; -3\n");
}

TEST(TrigoReplay, AGameThatGoesOnHasNoResult) {
  const Json found = answer(R"({"board": [5, 5, 1], "moves": ["aa"]})");
  EXPECT_EQ(found["tgn"], "[Board 5x5]\n\n1. aa ");
  EXPECT_EQ(found["score"], -25);
}

TEST(TrigoReplay, MistakesAreAnswers) {
  const auto error = [](const std::string& line) {
    const Json found = answer(line);
    EXPECT_EQ(found.size(), 1U);
    return found["error"].get<std::string>();
  };
  EXPECT_NE(error("").find("the game"), std::string::npos);
  EXPECT_NE(error("[]").find("the game"), std::string::npos);
  EXPECT_NE(error(R"({"board": [5, 5, 1]})").find("moves"), std::string::npos);
  EXPECT_NE(error(R"({"board": [0, 5, 1], "moves": []})").find("board"), std::string::npos);
  EXPECT_NE(error(R"({"board": [19, 19, 19], "moves": []})").find("at most 1024"),
            std::string::npos);
  EXPECT_NE(error(R"({"board": [5, 5, 1], "moves": ["aa", "aa"]})").find("the point has a stone"),
            std::string::npos);
  EXPECT_NE(error(R"({"board": [5, 5, 1], "moves": [], "x": 1})").find("x"), std::string::npos);
}

}  // namespace
}  // namespace trigo::test::replayed_game_test
