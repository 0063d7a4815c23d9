// What the specification's benchmark says of each thing that must hold.
#pragma once

#include <fmt/format.h>

#include <string>

namespace kvcache::prototype {

/// Prints the mark and what was checked; returns `holds`.
inline bool print_check(bool holds, const std::string& what) {
  fmt::print("{} {}\n", holds ? "✓" : "✗", what);
  return holds;
}

}  // namespace kvcache::prototype
