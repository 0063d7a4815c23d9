#include "rules/replayed_game.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/checked_json.hpp"
#include "game/notation.hpp"
#include "game/read_json.hpp"
#include "game/score.hpp"

namespace trigo {
namespace {

using kvcache::ErrorCode;
constexpr std::array<std::string_view, 2> kFields{"board", "moves"};

std::string stones_of(const Board& board) {
  std::string stones;
  for (const Point point : board.geometry().all()) {
    const auto stone = board.stone(point);
    stones += !stone ? '.' : *stone == Colour::black ? 'X' : 'O';
  }
  return stones;
}

/// What is told of a game, position by position.
class Replay {
 public:
  explicit Replay(const Shape& shape) : position_(shape) { add(); }

  [[nodiscard]] const Position& position() const noexcept { return position_; }

  /// Plays a legal move.
  void play(Move move) {
    position_.play(move);
    moves_.push_back(move);
    add();
  }

  [[nodiscard]] std::string json() const {
    const int score = area(position_.board()).difference();
    const auto result = position_.ended() ? std::optional(score) : std::nullopt;
    return Json{{"legal", legal_},
                {"stones", stones_},
                {"ended", ended_},
                {"score", score},
                {"tgn", game_text(position_.shape(), moves_, result)}}
        .dump();
  }

 private:
  void add() {
    Json texts = Json::array();
    for (const Move move : position_.legal_moves()) {
      texts.push_back(move_text(position_.shape(), move));
    }
    legal_.push_back(std::move(texts));
    stones_.push_back(stones_of(position_.board()));
    ended_.push_back(position_.ended());
  }

  Position position_;
  std::vector<Move> moves_;
  Json legal_ = Json::array();
  Json stones_ = Json::array();
  Json ended_ = Json::array();
};

}  // namespace

std::string replayed_game(const Shape& shape, std::span<const Move> moves) {
  Replay replay(shape);
  for (const Move move : moves) {
    replay.play(move);
  }
  return replay.json();
}

std::string replay_line(std::string_view line) {
  try {
    const kvcache::JsonDocument document(
        line, {"the game", ErrorCode::invalid_argument,
               "a game is {\"board\": [5, 5, 1], \"moves\": [\"aa\", \"Pass\"]}"});
    const kvcache::JsonValue root = document.root();
    root.only_fields(kFields);
    Replay replay(shape_of(root.field("board")));
    for (const kvcache::JsonValue& move : root.field("moves").elements()) {
      replay.play(legal_move_of(move, replay.position()));
    }
    return replay.json();
  } catch (const kvcache::Error& error) {
    return Json{{"error", error.what()}}.dump();
  }
}

}  // namespace trigo
