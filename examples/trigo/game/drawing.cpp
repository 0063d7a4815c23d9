#include "game/drawing.hpp"

#include "game/notation.hpp"

namespace trigo {
namespace {

constexpr const char* kGap = "    ";

/// The letter of an index on an axis.
char letter(int index, int axis) { return point_text({axis, 1, 1}, static_cast<Point>(index))[0]; }

void add_heading(std::string& text, const Shape& shape, int z) {
  text += shape.z > 1 ? letter(z, shape.z) : ' ';
  for (int x = 0; x < shape.x; ++x) {
    text += std::string("  ") + letter(x, shape.x);
  }
  text += ' ';
}

void add_row(std::string& text, const Board& board, int y, int z, std::optional<Move> last) {
  const Shape& shape = board.geometry().shape();
  text += letter(y, shape.y);
  for (int x = 0; x < shape.x; ++x) {
    const auto point = static_cast<Point>((x * shape.y + y) * shape.z + z);
    const auto stone = board.stone(point);
    const bool marked = last && *last == Move{point};
    text += x > 0 && text.back() == ')' ? "" : " ";
    text += marked ? '(' : ' ';
    text += !stone ? '.' : *stone == Colour::black ? 'X' : 'O';
    text += marked ? ")" : "";
  }
  text += text.back() == ')' ? "" : " ";
}

}  // namespace

std::string drawing(const Board& board, std::optional<Move> last) {
  const Shape& shape = board.geometry().shape();
  std::string text;
  for (int z = 0; z < shape.z; ++z) {
    text += z > 0 ? kGap : "";
    add_heading(text, shape, z);
  }
  text += '\n';
  for (int y = 0; y < shape.y; ++y) {
    for (int z = 0; z < shape.z; ++z) {
      text += z > 0 ? kGap : "";
      add_row(text, board, y, z, last);
    }
    text += '\n';
  }
  return text;
}

}  // namespace trigo
