// What Python's WindowedSequence holds.
#pragma once

#include <string_view>

#include "bindings/closable.hpp"
#include "kvcache/windowed_sequence.hpp"

namespace kvcache::python {

struct WindowedNames {
  static constexpr std::string_view kName = "windowed sequence";
  static constexpr std::string_view kAnother = "WindowedSequence(model)";
};
using WindowedObject = Closable<WindowedSequence, WindowedNames>;

}  // namespace kvcache::python
