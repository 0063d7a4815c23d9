#include "selfplay/tactics.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "base/throw_error.hpp"
#include "game/read_json.hpp"

namespace trigo {
namespace {

using kvcache::ErrorCode;

constexpr std::array<std::string_view, 5> kTacticFields{"name", "board", "moves", "right", "why"};

Tactic tactic_of(const kvcache::JsonValue& value) {
  value.only_fields(kTacticFields);
  Tactic tactic;
  tactic.name = value.field("name").text();
  tactic.why = value.field("why").text();
  tactic.shape = shape_of(value.field("board"));
  Position position(tactic.shape);
  for (const kvcache::JsonValue& move : value.field("moves").elements()) {
    tactic.moves.push_back(legal_move_of(move, position));
    position.play(tactic.moves.back());
  }
  for (const kvcache::JsonValue& move : value.field("right").elements()) {
    tactic.right.push_back(legal_move_of(move, position));
  }
  if (tactic.right.empty()) {
    value.field("right").refuse("must have a move");
  }
  return tactic;
}

}  // namespace

std::vector<Tactic> read_tactics(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream || stream.bad()) {
    kvcache::throw_error(ErrorCode::invalid_argument, "cannot read the file {}", file.string());
  }
  const kvcache::JsonDocument document(
      text, {file.string(), ErrorCode::invalid_argument, "examples/trigo/tactics.json is one"});
  std::vector<Tactic> tactics;
  for (const kvcache::JsonValue& value : document.root().elements()) {
    tactics.push_back(tactic_of(value));
  }
  return tactics;
}

TacticAnswer answer_to(const Tactic& tactic, Player& player, std::uint64_t seed) {
  player.start(tactic.shape, seed);
  for (const Move move : tactic.moves) {
    player.played(move);
  }
  TacticAnswer answer;
  answer.found = player.choose();
  answer.right = std::ranges::find(tactic.right, answer.found) != tactic.right.end();
  if (const SearchNode* root = player.last_search()) {
    const SearchEdge& edge = *std::ranges::find(root->edges, answer.found, &SearchEdge::move);
    const double others = root->visits - 1.0 - edge.visits;
    answer.share = edge.visits / (root->visits - 1.0);
    answer.value = edge.visits == 0 ? 0 : edge.total / edge.visits;
    answer.others = others == 0 ? 0 : (root->total - root->value - edge.total) / others;
  }
  return answer;
}

}  // namespace trigo
