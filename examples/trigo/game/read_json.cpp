#include "game/read_json.hpp"

#include <fmt/format.h>

#include <string_view>

#include "game/notation.hpp"

namespace trigo {

Shape shape_of(const kvcache::JsonValue& value) {
  const auto axes = value.integers(1, Shape::kMostPerAxis);
  if (axes.size() != 3) {
    value.refuse("must have three numbers");
  }
  const Shape shape{static_cast<int>(axes[0]), static_cast<int>(axes[1]),
                    static_cast<int>(axes[2])};
  check_shape(shape);
  return shape;
}

Move legal_move_of(const kvcache::JsonValue& value, const Position& position) {
  const Move move = parse_move(position.shape(), value.text());
  if (const std::string_view why = position.why_illegal(move); !why.empty()) {
    value.refuse(fmt::format("must be a legal move; {}", why));
  }
  return move;
}

}  // namespace trigo
