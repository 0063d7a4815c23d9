// Choices of C++'s enumerations by the names that they have in Python.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "bindings/errors.hpp"

namespace kvcache::python {

template <typename Choice, std::size_t count>
using Names = std::array<std::pair<std::string_view, Choice>, count>;

/// @throws Error invalid_argument for a name that is none of them, saying what there is
template <typename Choice, std::size_t count>
Choice to_choice(const Names<Choice, count>& names, std::string_view what, std::string_view name) {
  const auto* const found =
      std::ranges::find(names, name, &std::pair<std::string_view, Choice>::first);
  if (found != names.end()) {
    return found->second;
  }
  std::string known;
  for (const auto& [other, choice] : names) {
    known += (known.empty() ? "\"" : "\", \"") + std::string(other);
  }
  throw_error(ErrorCode::invalid_argument, "{} is \"{}\", must be one of {}\"", what, name, known);
}

template <typename Choice, std::size_t count>
std::string_view name_of(const Names<Choice, count>& names, Choice choice) {
  return std::ranges::find(names, choice, &std::pair<std::string_view, Choice>::second)->first;
}

}  // namespace kvcache::python
