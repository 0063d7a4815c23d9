// Games on threads, matches, what is written of them, and a person's game.
#include "selfplay/self_play.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "game/score.hpp"
#include "games.hpp"
#include "selfplay/match.hpp"
#include "selfplay/outputs.hpp"
#include "selfplay/person.hpp"
#include "selfplay/players.hpp"
#include "selfplay/records.hpp"
#include "selfplay/workers.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace trigo::test::self_play_test {
namespace {

using Json = nlohmann::json;

std::unique_ptr<Player> rollouts(std::size_t simulations, const MoveChoice& choice = {}) {
  return make_player({PlayerName::Kind::rollouts, simulations}, {{}, 0, choice});
}

SelfPlayOptions six_games(std::size_t threads) {
  SelfPlayOptions options;
  options.rules = {{3, 3, 1}, 30, 0};
  options.games = {0, 6};
  options.threads = threads;
  options.seed = 9;
  return options;
}

std::vector<PlayedGame> played(std::size_t threads, SelfPlayResult& result, bool trace = true) {
  std::vector<PlayedGame> games;
  SelfPlayOptions options = six_games(threads);
  options.trace = trace;
  result = self_play(
      options,
      [] {
        return rollouts(40, {1, 6});
      },
      [&](const PlayedGame& game) { games.push_back(game); });
  return games;
}

TEST(TrigoSelfPlay, GamesAreTheSameOnAnyNumberOfThreads) {
  SelfPlayResult alone_result;
  SelfPlayResult beside_result;
  const auto alone = played(1, alone_result);
  const auto beside = played(4, beside_result);
  ASSERT_EQ(alone.size(), 6U);
  ASSERT_EQ(beside.size(), 6U);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    EXPECT_EQ(beside[i].number, i);
    EXPECT_EQ(beside[i].moves, alone[i].moves);
    EXPECT_EQ(beside[i].visit_hash, alone[i].visit_hash);
  }
  EXPECT_NE(alone[0].moves, alone[1].moves);
  EXPECT_EQ(alone_result.visit_hash, beside_result.visit_hash);
  EXPECT_EQ(alone_result.moves, beside_result.moves);
  EXPECT_EQ(alone_result.games, 6U);
}

TEST(TrigoSelfPlay, AGameIsTheSameWhicheverArePlayedBeforeIt) {
  SelfPlayResult result;
  const auto all = played(1, result);
  SelfPlayOptions options = six_games(2);
  options.games = {2, 3};
  std::vector<PlayedGame> some;
  self_play(
      options,
      [] {
        return rollouts(40, {1, 6});
      },
      [&](const PlayedGame& game) { some.push_back(game); });
  ASSERT_EQ(some.size(), 3U);
  for (std::size_t i = 0; i < some.size(); ++i) {
    EXPECT_EQ(some[i].number, i + 2);
    EXPECT_EQ(some[i].seed, all[i + 2].seed);
    EXPECT_EQ(some[i].visit_hash, all[i + 2].visit_hash);
  }
}

TEST(TrigoSelfPlay, FiguresAddUp) {
  SelfPlayResult result;
  const auto games = played(1, result, false);
  std::size_t moves = 0;
  for (const PlayedGame& game : games) {
    moves += game.moves.size();
    EXPECT_EQ(game.searches.size(), game.moves.size());
  }
  EXPECT_EQ(result.moves, moves);
  EXPECT_EQ(result.searches, moves);
  EXPECT_EQ(result.simulated, 40 * moves);
  EXPECT_LE(result.evaluations, result.simulated + games.size());
  double parts = 0;
  for (std::size_t part = 0; part < kPartNames.size(); ++part) {
    parts += result.parts.of(static_cast<Part>(part)).count();
  }
  EXPECT_GT(parts, 0.1 * result.game_seconds);
  EXPECT_LE(parts, result.game_seconds);
  EXPECT_LE(result.game_seconds, result.seconds);
  EXPECT_GT(result.share_of_game_logic(), 0);
  EXPECT_LT(result.share_of_game_logic(), 1);
}

TEST(TrigoSelfPlay, AGameEndsByTwoPassesASettledBoardOrItsLength) {
  SelfPlayResult result;
  for (const PlayedGame& game : played(2, result)) {
    Position position(game.shape);
    for (const Move move : game.moves) {
      EXPECT_FALSE(position.ended());
      EXPECT_FALSE(is_settled(position.board()));
      ASSERT_TRUE(position.is_legal(move));
      position.play(move);
    }
    EXPECT_TRUE(position.ended() || is_settled(position.board()) || game.moves.size() == 30);
    EXPECT_EQ(game.difference, area(position.board()).difference());
  }
}

TEST(TrigoSelfPlay, WhatAWorkerThrowsEndsTheWork) {
  std::size_t finished = 0;
  const auto make_worker = [] {
    return [](std::size_t number) {
      if (number == 3) {
        throw kvcache::Error(kvcache::ErrorCode::cache_full, "game 3");
      }
      PlayedGame game;
      game.number = number;
      return game;
    };
  };
  kvcache::test::expect_error(kvcache::ErrorCode::cache_full, "game 3", [&] {
    play_games({0, 1000}, 3, make_worker, [&](PlayedGame&&) { ++finished; });
  });
  EXPECT_LE(finished, 3U);  // none behind the missing one
}

TEST(TrigoRecords, TrainingDataHasEachSearch) {
  SelfPlayResult result;
  const PlayedGame game = played(1, result).front();
  const Json line = Json::parse(data_line(game));
  EXPECT_EQ(line["board"], Json({3, 3, 1}));
  EXPECT_EQ(line["score"], game.difference);
  EXPECT_EQ(line["seed"], game.seed);
  EXPECT_EQ(line["moves"].size(), game.moves.size());
  Position position(game.shape);
  for (std::size_t ply = 0; ply < game.moves.size(); ++ply) {
    const Json& search = line["searches"][ply];
    EXPECT_EQ(search["ply"], ply);
    const auto legal = position.legal_moves();
    ASSERT_EQ(search["moves"].size(), legal.size());
    std::size_t visits = 0;
    for (std::size_t i = 0; i < legal.size(); ++i) {
      EXPECT_EQ(search["moves"][i], move_text(game.shape, legal[i]));
      visits += search["visits"][i].get<std::size_t>();
    }
    EXPECT_GE(visits, 40U);
    EXPECT_LE(std::abs(search["value"].get<double>()), 1);
    EXPECT_EQ(line["moves"][ply], move_text(game.shape, game.moves[ply]));
    position.play(game.moves[ply]);
  }
}

TEST(TrigoRecords, ATraceHasTheTreeOfEachSearch) {
  SelfPlayResult result;
  const PlayedGame game = played(1, result).front();
  std::istringstream lines(game.trace);
  std::size_t ply = 0;
  for (std::string text; std::getline(lines, text); ++ply) {
    const Json line = Json::parse(text);
    EXPECT_EQ(line["ply"], ply);
    EXPECT_EQ(line["chosen"], move_text(game.shape, game.moves[ply]));
    EXPECT_EQ(line["text"], game_text(game.shape, std::span(game.moves).first(ply), {}));
    const Json& nodes = line["nodes"];
    EXPECT_EQ(nodes[0]["parent"], -1);
    EXPECT_EQ(nodes[0]["visits"], line["simulations"].get<int>() + 1);
    std::vector<int> below(nodes.size(), 0);
    for (std::size_t i = 1; i < nodes.size(); ++i) {
      const auto parent = nodes[i]["parent"].get<std::size_t>();
      ASSERT_LT(parent, i);
      below[parent] += nodes[i]["visits"].get<int>();
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (!nodes[i]["end"].get<bool>()) {
        EXPECT_EQ(nodes[i]["visits"], below[i] + 1);
      }
    }
  }
  EXPECT_EQ(ply, game.moves.size());
}

TEST(TrigoRecords, FilesAreWholeOrNotThere) {
  const kvcache::test::TemporaryDirectory directory;
  const auto path = [&](const char* name) { return (directory.path() / name).string(); };
  SelfPlayResult result;
  const auto games = played(1, result);
  {
    Outputs given_up({path("lost.jsonl"), "", ""});
    given_up.add(games[0]);
  }
  EXPECT_FALSE(std::filesystem::exists(path("lost.jsonl")));
  Outputs outputs({path("data.jsonl"), path("trace.jsonl"), path("games")});
  for (const PlayedGame& game : games) {
    outputs.add(game);
  }
  outputs.commit();
  EXPECT_EQ(kvcache::test::read_file(path("data.jsonl")).substr(0, 16), R"({"board":[3,3,1])");
  EXPECT_EQ(kvcache::test::read_file(path("trace.jsonl")).substr(0, 17), R"({"game":0,"ply":0)");
  const GameRecord record = parse_game(kvcache::test::read_file(path("games") + "/game-00005.tgn"));
  EXPECT_EQ(record.moves, games[5].moves);
  EXPECT_EQ(record.difference, games[5].difference);
}

TEST(TrigoMatch, OpeningsArePlayedTwiceWithColoursExchanged) {
  MatchOptions options;
  options.rules = {{3, 3, 1}, 40, 3};
  options.games = {0, 10};
  options.threads = 2;
  options.seed = 5;
  std::vector<PlayedGame> games;
  const MatchResult result = play_match(
      options,
      [] {
        return std::array{rollouts(200), make_player({PlayerName::Kind::random, 0}, {})};
      },
      [&](const PlayedGame& game) { games.push_back(game); });
  ASSERT_EQ(games.size(), 10U);
  std::size_t searches_as_black = 0;
  for (std::size_t i = 0; i < games.size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(std::span(games[i].moves).first(3),
                                   std::span(games[i / 2 * 2].moves).first(3)));
    for (const SearchRecord& search : games[i].searches) {
      EXPECT_EQ(search.ply % 2, i % 2);  // the first player's colour
      searches_as_black += search.ply % 2 == 0 ? 1U : 0U;
    }
  }
  EXPECT_GT(searches_as_black, 0U);
  EXPECT_NE(games[0].moves[0], games[2].moves[0]);
  EXPECT_EQ(result.games(), 10U);
  EXPECT_GE(result.won(), 9U);
  EXPECT_GE(result.wins[0], 4U);
  EXPECT_GE(result.wins[1], 4U);
}

TEST(TrigoPerson, PlaysInTheTerminal) {
  std::istringstream in("00 nonsense 00 aa pass quit");
  std::ostringstream out;
  const auto opponent = rollouts(30);
  const PlayedGame game =
      play_with_person(*opponent, Colour::black, {{3, 3, 1}, 100, 0}, 3, in, out);
  const std::string said = out.str();
  EXPECT_NE(said.find("   a  0  z \na  .  .  . \n0  .  .  . \nz  .  .  . \n"), std::string::npos);
  EXPECT_NE(said.find("0  . (X) . "), std::string::npos);
  EXPECT_NE(said.find("\"nonsense\" is no move on a board of 3x3"), std::string::npos);
  EXPECT_NE(said.find("00 is illegal: the point has a stone."), std::string::npos);
  EXPECT_NE(said.find("White (O) plays "), std::string::npos);
  EXPECT_NE(said.find("; thought of "), std::string::npos);
  EXPECT_NE(said.find("leads by"), std::string::npos);
  EXPECT_GE(game.moves.size(), 2U);
}

TEST(TrigoPerson, MayPlayWhiteAndEndTheGameByPassing) {
  std::istringstream in("Pass Pass Pass Pass Pass Pass Pass Pass Pass Pass Pass Pass");
  std::ostringstream out;
  const auto opponent = rollouts(300);
  const PlayedGame game =
      play_with_person(*opponent, Colour::white, {{3, 3, 1}, 100, 0}, 3, in, out);
  ASSERT_GE(game.moves.size(), 2U);
  EXPECT_TRUE(game.moves[1].is_pass());
  EXPECT_TRUE(game.moves[game.moves.size() - 1].is_pass());
  EXPECT_TRUE(game.moves[game.moves.size() - 2].is_pass());
  EXPECT_EQ(game.difference, -9);
  EXPECT_NE(out.str().find("Black 9, White 0: Black leads by 9"), std::string::npos);
}

}  // namespace
}  // namespace trigo::test::self_play_test
