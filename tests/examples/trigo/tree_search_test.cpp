// The search: what it asks, how it counts, whose side it is on, and what it keeps.
#include "search/tree_search.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "evaluators.hpp"
#include "games.hpp"
#include "search/visits.hpp"
#include "support/random_cases.hpp"

namespace trigo::test::tree_search_test {
namespace {

using kvcache::test::for_random_cases;
using test::AreaEvaluator;
using test::HashEvaluator;

constexpr Shape kFive{5, 5, 1};

/// A search with its evaluator, after some moves.
template <typename Evaluator>
struct Searching {
  explicit Searching(const SearchOptions& options, const Shape& shape = kFive,
                     const std::string& words = "", std::uint64_t seed = 1)
      : search(evaluator, options, stopwatch) {
    search.start(shape, seed);
    for (const Move move : test::moves_of(shape, words)) {
      search.play(move);
    }
  }

  Evaluator evaluator;
  Stopwatch stopwatch;
  TreeSearch search;
};

SearchOptions with_simulations(std::size_t simulations) {
  SearchOptions options;
  options.simulations = simulations;
  return options;
}

std::vector<std::uint32_t> visits_of(const SearchNode& node) {
  std::vector<std::uint32_t> visits;
  for (const SearchEdge& edge : node.edges) {
    visits.push_back(edge.visits);
  }
  return visits;
}

Move most_visited(const SearchNode& root) {
  Random random(1);
  return choose_by_visits(root, 0, random);
}

/// Visits and totals of a node are those of its edges and its own evaluation.
void expect_consistent(const SearchNode& node) {
  if (node.end) {
    EXPECT_TRUE(node.edges.empty());
    EXPECT_NEAR(node.total, node.value * node.visits, 1e-9);
    return;
  }
  std::uint32_t visits = 1;
  double total = node.value;
  for (const SearchEdge& edge : node.edges) {
    visits += edge.visits;
    total += edge.total;
    EXPECT_EQ(edge.visits == 0, edge.child == nullptr);
    if (edge.child != nullptr) {
      EXPECT_EQ(edge.child->visits, edge.visits);
      EXPECT_NEAR(edge.child->total, edge.total, 1e-9);
      expect_consistent(*edge.child);
    }
  }
  EXPECT_EQ(node.visits, visits);
  EXPECT_NEAR(node.total, total, 1e-9);
}

TEST(TrigoSearch, CountsEachSimulationOnce) {
  Searching<HashEvaluator> searching(with_simulations(200), {3, 3, 1});
  const SearchNode& root = searching.search.search();
  const auto visits = visits_of(root);
  EXPECT_EQ(std::accumulate(visits.begin(), visits.end(), 0U), 200U);
  EXPECT_EQ(root.edges.size(), 10U);
  expect_consistent(root);
  EXPECT_EQ(searching.search.simulated(), 200U);
  EXPECT_EQ(searching.search.evaluations(), searching.evaluator.asked());
}

TEST(TrigoSearch, AsksForTheTextOfEachPosition) {
  Searching<HashEvaluator> searching(with_simulations(1), kFive, "aa Pass");
  static_cast<void>(searching.search.search());
  EXPECT_EQ(searching.evaluator.last_text().substr(0, 27), "[Board 5x5]\n\n1. aa Pass\n2. ");
  EXPECT_EQ(searching.evaluator.last_moves(), 3U);
  EXPECT_EQ(searching.evaluator.asked(), 2U);
}

TEST(TrigoSearch, TheFirstMoveTriedIsTheLikeliest) {
  Searching<HashEvaluator> searching(with_simulations(1));
  const SearchNode& root = searching.search.search();
  const auto likeliest = std::ranges::max_element(root.edges, {}, &SearchEdge::prior);
  EXPECT_EQ(most_visited(root), likeliest->move);
}

TEST(TrigoSearch, BothColoursFindACapture) {
  // Two stones in a corner have their last liberty at 0a.
  Searching<AreaEvaluator> black(with_simulations(400), kFive, "ab aa bb ba");
  const SearchNode& capture = black.search.search();
  EXPECT_EQ(move_text(kFive, most_visited(capture)), "0a");
  EXPECT_LT(capture.mean(), 0);  // what is good for Black
  Searching<AreaEvaluator> white(with_simulations(400), kFive, "aa ab ba bb zz");
  const SearchNode& other = white.search.search();
  EXPECT_EQ(move_text(kFive, most_visited(other)), "0a");
  EXPECT_GT(other.mean(), 0);
}

TEST(TrigoSearch, BothColoursSaveTheirStones) {
  Searching<AreaEvaluator> white(with_simulations(1500), kFive, "ab aa bb ba zz");
  EXPECT_EQ(move_text(kFive, most_visited(white.search.search())), "0a");
  Searching<AreaEvaluator> black(with_simulations(1500), kFive, "aa ab ba bb");
  EXPECT_EQ(move_text(kFive, most_visited(black.search.search())), "0a");
}

TEST(TrigoSearch, AnEndIsWorthItsScoreAndIsNotEvaluated) {
  // White has passed and leads: a pass of Black ends the game and loses it.
  const Shape shape{3, 3, 1};
  Searching<AreaEvaluator> losing(with_simulations(60), shape, "Pass 00 aa Pass");
  const SearchNode& root = losing.search.search();
  const SearchEdge& pass = root.edges.back();
  ASSERT_TRUE(pass.move.is_pass());
  ASSERT_NE(pass.child, nullptr);
  EXPECT_TRUE(pass.child->end);
  EXPECT_EQ(pass.child->value, 0);  // one stone each, the rest neutral
  expect_consistent(root);
  // With the whole board, Black passes after White's pass: nothing is better than its end.
  Searching<AreaEvaluator> winning(with_simulations(200), shape, "00 Pass");
  const SearchNode& won = winning.search.search();
  ASSERT_NE(won.edges.back().child, nullptr);
  EXPECT_EQ(won.edges.back().child->value, -1);
  EXPECT_TRUE(most_visited(won).is_pass());
}

TEST(TrigoSearch, ASettledBoardIsAnEndBelowTheRootOnly) {
  // . X O O . : three of five points have stones, and none is neutral.
  const Shape row{5, 1, 1};
  Searching<HashEvaluator> before(with_simulations(30), row, "b 0 Pass");
  const SearchNode& root = before.search.search();
  const auto settles = std::ranges::find(root.edges, parse_move(row, "y"), &SearchEdge::move);
  ASSERT_NE(settles->child, nullptr);
  EXPECT_TRUE(settles->child->end);
  EXPECT_DOUBLE_EQ(settles->child->value, 1 / (1 + std::log(5.0)));
  const std::size_t asked = before.evaluator.asked();
  before.search.play(parse_move(row, "y"));
  const SearchNode& next = before.search.search();
  EXPECT_FALSE(next.end);
  EXPECT_GT(before.evaluator.asked(), asked);
  EXPECT_EQ(next.visits, 31U);
}

TEST(TrigoSearch, WhatIsKeptIsWhatAFreshSearchWouldFind) {
  for_random_cases(20, [](kvcache::test::Random& random) {
    const auto simulations = static_cast<std::size_t>(random.integer(20, 120));
    Searching<HashEvaluator> kept(with_simulations(simulations), {3, 3, 1});
    std::string words;
    for (int ply = 0; ply < 4 && !kept.search.position().ended(); ++ply) {
      const SearchNode& root = kept.search.search();
      expect_consistent(root);
      const Move move = most_visited(root);
      const auto edge = std::ranges::find(root.edges, move, &SearchEdge::move);
      if (edge->child->end) {
        break;
      }
      const auto before = visits_of(*edge->child);
      const std::size_t known = edge->visits - 1;  // the first was its own evaluation
      const std::size_t asked = kept.evaluator.asked();
      kept.search.play(move);
      words += move_text({3, 3, 1}, move) + " ";

      Searching<HashEvaluator> fresh(with_simulations(known), {3, 3, 1}, words);
      EXPECT_EQ(visits_of(fresh.search.search()), before);
      const auto after = visits_of(kept.search.search());
      EXPECT_LE(kept.evaluator.asked() - asked, simulations);
      Searching<HashEvaluator> longer(with_simulations(known + simulations), {3, 3, 1}, words);
      EXPECT_EQ(visits_of(longer.search.search()), after);
    }
  });
}

TEST(TrigoSearch, MovesThatWereNeverVisitedAreNoHindrance) {
  Searching<HashEvaluator> searching(with_simulations(5));
  const SearchNode& root = searching.search.search();
  const auto unseen = std::ranges::find(root.edges, 0U, &SearchEdge::visits);
  const Move move = unseen->move;
  searching.search.play(move);
  searching.search.play(Move::pass());
  const auto visits = visits_of(searching.search.search());
  Searching<HashEvaluator> fresh(with_simulations(5), kFive, move_text(kFive, move) + " Pass");
  EXPECT_EQ(visits_of(fresh.search.search()), visits);
}

TEST(TrigoSearch, NoiseComesOfTheSeedAlone) {
  SearchOptions options = with_simulations(60);
  options.noise = 0.5;
  const auto visits = [&](std::uint64_t seed) {
    Searching<HashEvaluator> searching(options, kFive, "", seed);
    return visits_of(searching.search.search());
  };
  EXPECT_EQ(visits(7), visits(7));
  EXPECT_NE(visits(7), visits(8));
  options.noise = 0;
  EXPECT_EQ(visits(7), visits(8));
}

TEST(TrigoSearch, UctTriesEachMoveBeforeAnyTwice) {
  SearchOptions options = with_simulations(26);
  options.selection = Selection::uct;
  Searching<HashEvaluator> searching(options);
  const auto visits = visits_of(searching.search.search());
  EXPECT_EQ(visits, std::vector<std::uint32_t>(26, 1));
}

TEST(TrigoSearch, AGameThatHasEndedIsNotSearched) {
  Searching<HashEvaluator> searching(with_simulations(1), kFive, "Pass Pass");
  EXPECT_THROW(static_cast<void>(searching.search.search()), std::logic_error);
}

TEST(TrigoSearch, MovesAreDrawnByTheirVisits) {
  SearchNode root;
  for (const std::uint32_t visits : {10U, 0U, 30U, 30U}) {
    root.edges.emplace_back();
    root.edges.back().move = {static_cast<Point>(root.edges.size())};
    root.edges.back().visits = visits;
    root.edges.back().prior = visits == 0 ? 0.9F : 0.1F * static_cast<float>(root.edges.size());
  }
  Random random(3);
  const auto counts = [&](double temperature) {
    std::vector<int> drawn(5);
    for (int i = 0; i < 7000; ++i) {
      ++drawn[choose_by_visits(root, temperature, random).point];
    }
    return drawn;
  };
  EXPECT_EQ(counts(0), (std::vector{0, 0, 0, 0, 7000}));  // of two equal ones the likelier
  const auto drawn = counts(1);
  EXPECT_NEAR(drawn[1], 1000, 150);
  EXPECT_EQ(drawn[2], 0);
  EXPECT_NEAR(drawn[3], 3000, 200);
  EXPECT_NEAR(drawn[4], 3000, 200);
  EXPECT_NEAR(counts(0.5)[1], 7000.0 / 19, 100);  // 1 : 9 : 9
}

TEST(TrigoRandom, GammaHasItsMeanAndVariance) {
  Random random(5);
  for (const double shape : {0.4, 1.0, 3.5}) {
    double sum = 0;
    double squares = 0;
    constexpr int kCount = 20000;
    for (int i = 0; i < kCount; ++i) {
      const double x = random.gamma(shape);
      ASSERT_GE(x, 0);
      sum += x;
      squares += x * x;
    }
    const double mean = sum / kCount;
    EXPECT_NEAR(mean, shape, 0.05 * (1 + shape));
    EXPECT_NEAR(squares / kCount - mean * mean, shape, 0.15 * (1 + shape));
  }
}

}  // namespace
}  // namespace trigo::test::tree_search_test
