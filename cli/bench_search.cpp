// kvcache bench --mode search: the trees of many games in one run after the other, as a search asks
// for them: nodes a second, and what of a step is the evaluation and what is reading it.

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <random>
#include <string>
#include <vector>

#include "bench_mode.hpp"
#include "program/exit_status.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kDefaultGames = 64;
constexpr std::size_t kDefaultNodes = 20;  // of each tree
constexpr std::size_t kShortestPrefix = 40;
constexpr std::size_t kLongestPrefix = 200;
constexpr std::size_t kSteps = 32;       // of each round
constexpr std::size_t kKindsOfTree = 8;  // by turns, so that no two steps ask for the same

/// A game's text, and the trees that are asked for behind it.
struct Game {
  Game(const Model& model, std::size_t number, std::size_t prefix_length, std::size_t nodes)
      : prefix(model.new_sequence()) {
    const auto seed = static_cast<std::uint32_t>(number + 1);
    prefix.extend(prompt_of(prefix_length, model, seed));
    std::minstd_rand random(seed);
    for (std::size_t kind = 0; kind < kKindsOfTree; ++kind) {
      TokenTree tree;
      tree.tokens = prompt_of(nodes, model, static_cast<std::uint32_t>(random()));
      for (std::size_t node = 0; node < nodes; ++node) {
        tree.parents.push_back(static_cast<std::int32_t>(random() % (node + 1)) - 1);
      }
      trees.push_back(std::move(tree));
    }
  }

  /// The text that ends with a node of a tree.
  [[nodiscard]] std::vector<TokenId> text_to(const TokenTree& tree, std::size_t node) const {
    std::vector<TokenId> tokens;
    for (auto at = static_cast<std::int32_t>(node); at >= 0;
         at = tree.parents[static_cast<std::size_t>(at)]) {
      tokens.push_back(tree.tokens[static_cast<std::size_t>(at)]);
    }
    tokens.insert(tokens.end(), prefix.tokens().rbegin(), prefix.tokens().rend());
    std::ranges::reverse(tokens);
    return tokens;
  }

  Sequence prefix;
  std::vector<TokenTree> trees;
};

/// Prefixes from the shortest to the longest, so that games next to each other differ.
std::vector<Game> games_of(const Model& model, std::size_t count, std::size_t nodes) {
  const std::size_t room = model.info().max_seq_len - nodes;
  const std::size_t shortest = std::min(kShortestPrefix, room);
  const std::size_t longest = std::min(kLongestPrefix, room);
  std::vector<Game> games;
  games.reserve(count);
  for (std::size_t game = 0; game < count; ++game) {
    const std::size_t place = game * 29 % count;  // 29 has no divisor in common with most counts
    games.emplace_back(model, game, shortest + place * (longest - shortest) / count, nodes);
  }
  return games;
}

/// What a caller waited for in some steps.
struct StepTimes {
  double evaluate_ms = 0;
  double read_ms = 0;
};

std::vector<TreeEvaluation> evaluate_games(std::span<const Game> games, std::size_t step) {
  std::vector<TreeOfPrefix> batch;
  for (const Game& game : games) {
    batch.push_back({.prefix = &game.prefix, .tree = &game.trees[step % kKindsOfTree]});
  }
  return evaluate(batch);
}

/// Every node's logits are brought to the host, as who makes priors of them does.
StepTimes run_steps(std::span<const Game> games) {
  StepTimes times;
  for (std::size_t step = 0; step < kSteps; ++step) {
    std::vector<TreeEvaluation> evaluations;
    times.evaluate_ms += time_of([&] { evaluations = evaluate_games(games, step); });
    times.read_ms += time_of([&] {
      for (const TreeEvaluation& evaluation : evaluations) {
        for (std::size_t node = 0; node < evaluation.logits().rows(); ++node) {
          static_cast<void>(evaluation.logits().row(node));
        }
      }
    });
  }
  return times;
}

/// So many games, of so many callers that each have their part of them: a thread each.
struct SearchWay {
  std::size_t games;
  std::size_t callers;
  std::vector<double> nodes_per_second = {};  // a round each
  std::vector<double> evaluate_ms = {};       // of a step of a caller
  std::vector<double> read_ms = {};

  void measure(std::span<const Game> all, std::size_t nodes) {
    const std::size_t part = games / callers;
    std::vector<StepTimes> times(callers);
    const double milliseconds = time_of([&] {
      std::vector<std::future<void>> others;
      for (std::size_t caller = 1; caller < callers; ++caller) {
        others.push_back(std::async(std::launch::async, [&, caller] {
          times[caller] = run_steps(all.subspan(caller * part, part));
        }));
      }
      times.front() = run_steps(all.first(part));
      for (std::future<void>& other : others) {
        other.get();
      }
    });
    nodes_per_second.push_back(static_cast<double>(part * callers * nodes * kSteps) * 1e3 /
                               milliseconds);
    evaluate_ms.push_back(times.front().evaluate_ms / kSteps);
    read_ms.push_back(times.front().read_ms / kSteps);
  }
};

/// One caller with 1, 2, 4, … games, and two callers that share all of them.
std::vector<SearchWay> search_ways(std::size_t games) {
  std::vector<SearchWay> ways;
  for (std::size_t count = 1; count < games; count *= 2) {
    ways.push_back({.games = count, .callers = 1});
  }
  ways.push_back({.games = games, .callers = 1});
  if (games > 1) {
    ways.push_back({.games = games, .callers = 2});
  }
  return ways;
}

/// A deep node of every game's tree against a forward without cache.
void check_games_agree(const Model& model, std::span<const Game> games, BenchReport& report) {
  const std::vector<TreeEvaluation> evaluations = evaluate_games(games, 0);
  for (std::size_t game = 0; game < games.size(); ++game) {
    const TokenTree& tree = games[game].trees.front();
    const std::size_t node =
        tree.tokens.size() - 1 - game % std::min<std::size_t>(4, tree.tokens.size());
    compare_with_uncached(model, games[game].text_to(tree, node),
                          evaluations[game].logits().row(node), report.agreement);
  }
}

/// What a step of all games takes, beside what half of them take: where the time goes.
std::string what_bounds(const SearchWay& half, const SearchWay& all) {
  const double evaluate = report::median(all.evaluate_ms);
  const double read = report::median(all.read_ms);
  const double growth = evaluate / report::median(half.evaluate_ms);
  return fmt::format(
      "A step of {} games takes {:.3f} ms to evaluate and {:.3f} ms to read; evaluating half of "
      "them takes {:.2f} of that: {}.\n",
      all.games, evaluate, read, 1 / growth,
      growth > 1.7   ? "what a node costs bounds it"
      : growth < 1.3 ? "what a run costs, whatever is in it, bounds it"
                     : "what a run costs and what a node costs bound it alike");
}

report::Json search_way_to_json(const SearchWay& way) {
  return {{"games", way.games},
          {"callers", way.callers},
          {"nodes_per_second", ratio_to_json(way.nodes_per_second)},
          {"evaluate_ms", ratio_to_json(way.evaluate_ms)},
          {"read_ms", ratio_to_json(way.read_ms)}};
}

}  // namespace

BenchReport bench_search(const Model& model, const BenchOptions& options) {
  const std::size_t count = options.rows.value_or(kDefaultGames);
  const std::size_t nodes = options.nodes.value_or(kDefaultNodes);
  check_positions(fmt::format("a tree of {} nodes (--nodes) and a token before it", nodes),
                  nodes + 1, model);
  BenchReport report;
  report.agreement = new_agreement(model);
  const std::vector<Game> games = games_of(model, count, nodes);
  options.progress({"comparing with forward_without_cache"});
  check_games_agree(model, games, report);

  std::vector<SearchWay> ways = search_ways(count);
  for (std::size_t round = 0; round <= options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round, options.repeat), round, options.repeat + 1});
    if (round == 1) {  // the first one warmed up
      ways = search_ways(count);
    }
    for (SearchWay& way : ways) {
      way.measure(games, nodes);
    }
  }

  report.json = {{"nodes", nodes}, {"steps_of_a_round", kSteps}, {"ways", report::Json::array()}};
  report::Table table({"Games", "Callers", "Nodes/s", "Over 1 game", "Evaluate ms", "Read ms"});
  for (const SearchWay& way : ways) {
    report.json["ways"].push_back(search_way_to_json(way));
    table.add_row({std::to_string(way.games), std::to_string(way.callers),
                   fmt::format("{:.0f}", report::median(way.nodes_per_second)),
                   format_ratio(ratios(way.nodes_per_second, ways.front().nodes_per_second)),
                   fmt::format("{:.3f}", report::median(way.evaluate_ms)),
                   fmt::format("{:.3f}", report::median(way.read_ms))});
  }
  report.text = table.to_string() + "\n";
  if (count > 1) {  // of one caller: the last but one, and the one before it
    report.text += what_bounds(ways[ways.size() - 3], ways[ways.size() - 2]);
  }
  return report;
}

}  // namespace kvcache::cli
