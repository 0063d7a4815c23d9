#include "rules/replayed_game.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"
#include "game/notation.hpp"
#include "game/score.hpp"

namespace trigo {
namespace {

using kvcache::ErrorCode;
using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 2> kFields{"board", "moves"};

std::string stones_of(const Board& board) {
  std::string stones;
  for (Point point = 0; point < board.geometry().points(); ++point) {
    const auto stone = board.stone(point);
    stones += !stone ? '.' : *stone == Colour::black ? 'X' : 'O';
  }
  return stones;
}

Shape shape_of(const kvcache::JsonValue& board) {
  const auto axes = board.integers(1, Shape::kMostPerAxis);
  if (axes.size() != 3) {
    board.refuse("must have three numbers");
  }
  const Shape shape{static_cast<int>(axes[0]), static_cast<int>(axes[1]),
                    static_cast<int>(axes[2])};
  check_shape(shape);
  return shape;
}

}  // namespace

std::string replayed_game(const Shape& shape, std::span<const Move> moves) {
  Position position(shape);
  Json legal = Json::array();
  Json stones = Json::array();
  Json ended = Json::array();
  const auto add = [&] {
    Json texts = Json::array();
    for (const Move move : position.legal_moves()) {
      texts.push_back(move_text(shape, move));
    }
    legal.push_back(std::move(texts));
    stones.push_back(stones_of(position.board()));
    ended.push_back(position.ended());
  };
  add();
  for (const Move move : moves) {
    if (!position.is_legal(move)) {
      kvcache::throw_error(ErrorCode::invalid_argument, "move {}, {}, is illegal: {}",
                           position.moves() + 1, move_text(shape, move),
                           position.why_illegal(move));
    }
    position.play(move);
    add();
  }
  const int score = area(position.board()).difference();
  const auto result = position.ended() ? std::optional(score) : std::nullopt;
  return Json{{"legal", std::move(legal)},
              {"stones", std::move(stones)},
              {"ended", std::move(ended)},
              {"score", score},
              {"tgn", game_text(shape, moves, result)}}
      .dump();
}

std::string replay_line(std::string_view line) {
  try {
    const kvcache::JsonDocument document(
        line, {"the game", ErrorCode::invalid_argument,
               "a game is {\"board\": [5, 5, 1], \"moves\": [\"aa\", \"Pass\"]}"});
    const kvcache::JsonValue root = document.root();
    root.only_fields(kFields);
    const Shape shape = shape_of(root.field("board"));
    std::vector<Move> moves;
    for (const kvcache::JsonValue& move : root.field("moves").elements()) {
      moves.push_back(parse_move(shape, move.text()));
    }
    return replayed_game(shape, moves);
  } catch (const kvcache::Error& error) {
    return Json{{"error", error.what()}}.dump();
  }
}

}  // namespace trigo
