#include "token_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/checked_json.hpp"
#include "program/exit_status.hpp"

namespace kvcache::cli {
namespace {

constexpr std::string_view kSpace = " \t\n\r";

TokenId parse_id(std::string_view word, std::string_view option) {
  TokenId id = 0;
  const char* end = word.data() + word.size();
  const auto [stopped, error] = std::from_chars(word.data(), end, id);
  if (error == std::errc::result_out_of_range) {
    throw UsageError(fmt::format("{}: {} is too large for a token id", option, in_quotes(word)));
  }
  if (error != std::errc() || stopped != end) {
    throw UsageError(
        fmt::format("{}: {} is not a token id; give whole numbers separated by commas or spaces, "
                    "such as 50256,318",
                    option, in_quotes(word)));
  }
  return id;
}

/// Takes the next word off `text`; empty at the end.
std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(kSpace));
  text.remove_prefix(word.size());
  return word;
}

/// The ids of a field between two commas, separated by spaces.
void parse_field(std::string_view field, std::string_view option, std::vector<TokenId>& ids) {
  std::string_view word = next_word(field);
  if (word.empty()) {
    throw UsageError(fmt::format("{}: an id is missing before, between or after commas", option));
  }
  for (; !word.empty(); word = next_word(field)) {
    ids.push_back(parse_id(word, option));
  }
}

}  // namespace

std::vector<TokenId> parse_ids(std::string_view text, std::string_view option) {
  std::vector<TokenId> ids;
  if (text.find_first_not_of(kSpace) == std::string_view::npos) {
    throw UsageError(fmt::format("{}: no token ids were given; at least one is needed", option));
  }
  while (true) {
    const std::size_t comma = text.find(',');
    parse_field(text.substr(0, comma), option, ids);
    if (comma == std::string_view::npos) {
      return ids;
    }
    text.remove_prefix(comma + 1);
  }
}

}  // namespace kvcache::cli
