#include "selfplay/records.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/atomic_file.hpp"
#include "game/notation.hpp"
#include "game/read_json.hpp"

namespace trigo {
namespace {

Json texts_of(const Shape& shape, const std::vector<Move>& moves) {
  Json texts = Json::array();
  for (const Move move : moves) {
    texts.push_back(move_text(shape, move));
  }
  return texts;
}

/// Short enough to read, exact enough to train on.
double rounded(double value) { return std::round(value * 1e6) / 1e6; }

Json json_of(const SearchNode& node, std::ptrdiff_t parent, const std::string& move, double prior) {
  return {{"parent", parent},
          {"move", move},
          {"visits", node.visits},
          {"value", rounded(node.mean())},
          {"prior", rounded(prior)},
          {"tokens_computed", node.cost.tokens_computed},
          {"tokens_reused", node.cost.tokens_reused},
          {"blocks", {node.cost.blocks_shared, node.cost.blocks_own}},
          {"end", node.end}};
}

}  // namespace

std::string data_line(const PlayedGame& game) {
  Json searches = Json::array();
  for (const SearchRecord& search : game.searches) {
    searches.push_back({{"ply", search.ply},
                        {"moves", texts_of(game.shape, search.moves)},
                        {"visits", search.visits},
                        {"value", rounded(search.value)}});
  }
  return Json{{"board", {game.shape.x, game.shape.y, game.shape.z}},
              {"moves", texts_of(game.shape, game.moves)},
              {"score", game.difference},
              {"searches", std::move(searches)},
              {"seed", game.seed}}
             .dump() +
         "\n";
}

std::string trace_line(const FinishedSearch& search) {
  const Shape& shape = search.game.shape;
  Json nodes = Json::array();
  nodes.push_back(json_of(search.root, -1, "", 1));
  std::vector<const SearchNode*> order{&search.root};
  for (std::size_t at = 0; at < order.size(); ++at) {
    for (const SearchEdge& edge : order[at]->edges) {
      if (edge.child != nullptr) {
        order.push_back(edge.child.get());
        nodes.push_back(json_of(*edge.child, static_cast<std::ptrdiff_t>(at),
                                move_text(shape, edge.move), edge.prior));
      }
    }
  }
  std::size_t visits = 0;
  for (const SearchEdge& edge : search.root.edges) {
    visits += edge.visits;
  }
  return Json{{"game", search.game.number},
              {"ply", search.game.moves.size()},
              {"board", {shape.x, shape.y, shape.z}},
              {"text", game_text(shape, search.game.moves, {})},
              {"simulations", visits},
              {"ms", rounded(search.seconds * 1e3)},
              {"nodes", std::move(nodes)},
              {"chosen", move_text(shape, search.chosen)}}
             .dump() +
         "\n";
}

void write_tgn(const PlayedGame& game, const std::filesystem::path& directory) {
  kvcache::AtomicFile file(directory / fmt::format("game-{:05}.tgn", game.number));
  file.write(game_text(game.shape, game.moves, game.difference));
  file.commit();
}

}  // namespace trigo
