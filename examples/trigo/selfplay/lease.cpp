#include "selfplay/lease.hpp"

#include <charconv>

#include "base/throw_error.hpp"
#include "program/whole_number.hpp"

namespace trigo {
namespace {

/// Of a text that is a number.
std::size_t number_of(std::string_view text) {
  std::size_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

GameNumbers parse_lease(std::string_view line) {
  using kvcache::cli::is_whole_number;
  const std::size_t space = line.find(' ');
  if (space != std::string_view::npos) {
    const std::string_view first = line.substr(0, space);
    const std::string_view count = line.substr(space + 1);
    if (is_whole_number(first, 0, kMostGameNumber) && is_whole_number(count, 1, kMostGameNumber)) {
      return {number_of(first), number_of(count)};
    }
  }
  kvcache::throw_error(
      kvcache::ErrorCode::invalid_argument,
      "with --leases a line of standard input must be FIRST COUNT, a game's number "
      "and how many to play from it on, such as \"8 4\"; it is \"{}\"",
      line.substr(0, 80));
}

}  // namespace trigo
