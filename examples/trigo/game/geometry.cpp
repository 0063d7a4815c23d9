#include "game/geometry.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <tuple>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"

namespace trigo {

using kvcache::ErrorCode;
using kvcache::in_quotes;
using kvcache::throw_error;

void check_shape(const Shape& shape) {
  for (const int axis : {shape.x, shape.y, shape.z}) {
    if (axis < 1 || axis > Shape::kMostPerAxis) {
      throw_error(ErrorCode::invalid_argument,
                  "a board of {}x{}x{}: an axis has {} points, must have 1 to {}", shape.x, shape.y,
                  shape.z, axis, Shape::kMostPerAxis);
    }
  }
  if (shape.points() > Shape::kMostPoints) {
    throw_error(ErrorCode::invalid_argument,
                "a board of {}x{}x{} has {} points, must have at most {}; make an axis shorter",
                shape.x, shape.y, shape.z, shape.points(), Shape::kMostPoints);
  }
}

Shape parse_shape(std::string_view text) {
  std::array<int, 3> axes{1, 1, 1};
  std::size_t count = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (count < axes.size()) {
    const auto [stopped, error] = std::from_chars(at, end, axes[count]);
    if (error != std::errc() || *at == '-') {
      break;
    }
    ++count;
    at = stopped;
    if (at == end || *at != 'x') {
      break;
    }
    ++at;
  }
  if (count < 2 || at != end || text.back() == 'x') {
    throw_error(ErrorCode::invalid_argument,
                "{} is no board; write its points per axis, such as 5x5, 5x5x1 or 3x4x5",
                in_quotes(text));
  }
  const Shape shape{axes[0], axes[1], axes[2]};
  check_shape(shape);
  return shape;
}

std::string shape_text(const Shape& shape) {
  return shape.z == 1 ? fmt::format("{}x{}", shape.x, shape.y)
                      : fmt::format("{}x{}x{}", shape.x, shape.y, shape.z);
}

const Geometry& Geometry::of(const Shape& shape) {
  check_shape(shape);
  static std::mutex mutex;
  static std::map<std::tuple<int, int, int>, std::unique_ptr<const Geometry>> known;
  const std::lock_guard lock(mutex);
  auto& geometry = known[{shape.x, shape.y, shape.z}];
  if (geometry == nullptr) {
    geometry.reset(new Geometry(shape));
  }
  return *geometry;
}

Geometry::Geometry(const Shape& shape) : shape_(shape) {
  const auto point = [&](int x, int y, int z) {
    return static_cast<Point>((x * shape.y + y) * shape.z + z);
  };
  begins_.push_back(0);
  for (int x = 0; x < shape.x; ++x) {
    for (int y = 0; y < shape.y; ++y) {
      for (int z = 0; z < shape.z; ++z) {
        all_.push_back(point(x, y, z));
        const auto add = [&](bool inside, int nx, int ny, int nz) {
          if (inside) {
            neighbours_.push_back(point(nx, ny, nz));
          }
        };
        add(x > 0, x - 1, y, z);
        add(y > 0, x, y - 1, z);
        add(z > 0, x, y, z - 1);
        add(z + 1 < shape.z, x, y, z + 1);
        add(y + 1 < shape.y, x, y + 1, z);
        add(x + 1 < shape.x, x + 1, y, z);
        begins_.push_back(static_cast<std::uint16_t>(neighbours_.size()));
      }
    }
  }
}

}  // namespace trigo
