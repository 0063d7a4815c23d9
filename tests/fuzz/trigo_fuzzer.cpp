// Games as text, and as the JSON that trigo_rules reads. A game that is taken is written, and read
// again as the same.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "fuzz/expect_only_errors.hpp"
#include "game/notation.hpp"
#include "game/read_json.hpp"
#include "rules/replayed_game.hpp"

namespace {

using kvcache::test::expect;

void read_text(std::string_view text) {
  const trigo::GameRecord record = trigo::parse_game(text);
  const trigo::GameRecord again =
      trigo::parse_game(trigo::game_text(record.shape, record.moves, record.difference));
  expect(again.shape == record.shape && again.moves == record.moves &&
         again.difference == record.difference);
}

void read_line(std::string_view line) {
  const auto answer = nlohmann::json::parse(trigo::replay_line(line));
  if (answer.contains("error")) {
    expect(answer.size() == 1 && answer["error"].get<std::string>().size() > 10);
  } else {
    read_text(answer["tgn"].get<std::string>());
  }
}

/// A board, a space, and a move on it.
void read_words(std::string_view text) {
  const auto space = std::min(text.find(' '), text.size());
  const trigo::Shape shape = trigo::parse_shape(text.substr(0, space));
  expect(trigo::parse_shape(trigo::shape_text(shape)) == shape);
  const trigo::Move move = trigo::parse_move(shape, text.substr(std::min(space + 1, text.size())));
  expect(move.is_pass() || move.point < shape.points());
  expect(trigo::parse_move(shape, trigo::move_text(shape, move)) == move);
}

}  // namespace

// The first letter says which it is.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view text = kvcache::test::as_text(data + 1, size - 1);
  kvcache::test::expect_only_errors([&] {
    switch (*data) {
      case 't':
        return read_text(text);
      case 'j':
        return read_line(text);
      case 'w':
        return read_words(text);
      default:
        break;
    }
  });
  return 0;
}
