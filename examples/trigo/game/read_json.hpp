// Boards and moves in JSON from outside.
#pragma once

#include "base/checked_json.hpp"
#include "game/position.hpp"

namespace trigo {

using Json = nlohmann::ordered_json;  // as it is written

/// Of [5, 5, 1]. @throws kvcache::Error of the document's code, or as check_shape()
Shape shape_of(const kvcache::JsonValue& value);

/// Of "aa" or "Pass", which must be legal in the position.
/// @throws kvcache::Error of the document's code, or as parse_move()
Move legal_move_of(const kvcache::JsonValue& value, const Position& position);

}  // namespace trigo
