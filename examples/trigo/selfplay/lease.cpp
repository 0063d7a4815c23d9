#include "selfplay/lease.hpp"

#include "base/throw_error.hpp"
#include "program/whole_number.hpp"

namespace trigo {
GameNumbers parse_lease(std::string_view line) {
  using kvcache::cli::read_whole_number;
  const std::size_t space = line.find(' ');
  if (space != std::string_view::npos) {
    const auto first = read_whole_number(line.substr(0, space), 0, kMostGameNumber);
    const auto count = read_whole_number(line.substr(space + 1), 1, kMostGameNumber);
    if (first && count) {
      return {*first, *count};
    }
  }
  kvcache::throw_error(
      kvcache::ErrorCode::invalid_argument,
      "with --leases a line of standard input must be FIRST COUNT, a game's number "
      "and how many to play from it on, such as \"8 4\"; it is \"{}\"",
      line.substr(0, 80));
}

}  // namespace trigo
