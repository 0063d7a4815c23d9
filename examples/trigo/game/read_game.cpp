// The reader of TGN.
#include <fmt/format.h>

#include <charconv>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"
#include "game/notation.hpp"
#include "game/score.hpp"

namespace trigo {
namespace {

using kvcache::ErrorCode;
using kvcache::in_quotes;

constexpr std::string_view kHeader = "[Board ";
constexpr std::string_view kSpace = " \t\r\n";
constexpr std::size_t kMostBytes = std::size_t{1} << 20U;

class GameReader {
 public:
  explicit GameReader(std::string_view text) : rest_(text) {}

  GameRecord read() {
    if (rest_.size() > kMostBytes) {
      refuse(fmt::format("has {} bytes, a game has {} at most", rest_.size(), kMostBytes));
    }
    GameRecord record;
    record.shape = header();
    Position position(record.shape);
    while (next_word()) {
      if (word_.starts_with(';')) {
        record.difference = result(position);
        break;
      }
      read_move(position, record.moves);
    }
    if (next_word()) {
      refuse(fmt::format("has {} behind the result, which ends a game", in_quotes(word_)));
    }
    return record;
  }

 private:
  Shape header() {
    const auto end = rest_.find(']');
    if (!rest_.starts_with(kHeader) || end == std::string_view::npos) {
      refuse(fmt::format("begins with {}, must begin with the board, such as [Board 5x5]",
                         in_quotes(rest_.substr(0, 20))));
    }
    const std::string_view size = rest_.substr(kHeader.size(), end - kHeader.size());
    rest_.remove_prefix(end + 1);
    try {
      return parse_shape(size);
    } catch (const kvcache::Error& error) {
      refuse(fmt::format("has an unusable board: {}", error.what()));
    }
  }

  /// The next word, a result with the number behind it.
  bool next_word() {
    const auto begin = rest_.find_first_not_of(kSpace);
    for (const char c : rest_.substr(0, begin)) {
      line_ += c == '\n' ? 1U : 0U;
    }
    if (begin == std::string_view::npos) {
      rest_ = {};
      return false;
    }
    rest_.remove_prefix(begin);
    const auto end = rest_.find_first_of(rest_.front() == ';' ? "\n" : kSpace);
    word_ = rest_.substr(0, end);
    rest_.remove_prefix(word_.size());
    return true;
  }

  void read_move(Position& position, std::vector<Move>& moves) {
    if (position.ended()) {
      refuse(fmt::format("has {} behind two passes, which end a game", in_quotes(word_)));
    }
    if (position.to_move() == Colour::black) {
      const std::string number = fmt::format("{}.", moves.size() / 2 + 1);
      if (word_ != number) {
        refuse(fmt::format("has {} where the number {} must be", in_quotes(word_), number));
      }
      if (!next_word()) {
        refuse(fmt::format("ends behind the number {}; a move must follow", number));
      }
    }
    Move move;
    try {
      move = parse_move(position.shape(), word_);
    } catch (const kvcache::Error& error) {
      refuse(fmt::format("has no move as its move {}: {}", moves.size() + 1, error.what()));
    }
    if (const std::string_view why = position.why_illegal(move); !why.empty()) {
      refuse(fmt::format("has the move {} as its move {}, which is illegal: {}", word_,
                         moves.size() + 1, why));
    }
    position.play(move);
    moves.push_back(move);
  }

  int result(const Position& position) const {
    const int score = area(position.board()).difference();
    const std::string expected = result_text(score);
    auto found = word_;
    while (!found.empty() && kSpace.find(found.back()) != std::string_view::npos) {
      found.remove_suffix(1);
    }
    if (std::string(found) + "\n" != expected) {
      refuse(
          fmt::format("has the result {}, must be \"; {}{}\": the points of White less those of "
                      "Black",
                      in_quotes(found), score > 0 ? "+" : "", score));
    }
    return score;
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw kvcache::Error(ErrorCode::invalid_argument,
                         fmt::format("line {} of the game {}", line_, what));
  }

  std::string_view rest_;
  std::string_view word_;
  std::size_t line_ = 1;
};

}  // namespace

GameRecord parse_game(std::string_view text) { return GameReader(text).read(); }

}  // namespace trigo
