#include "program/whole_number.hpp"

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <system_error>

#include "base/checked_json.hpp"

namespace kvcache::cli {

std::optional<std::size_t> read_whole_number(std::string_view text, std::size_t least,
                                             std::size_t most) noexcept {
  std::size_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  const bool is_one = error == std::errc() && stopped == end && number >= least && number <= most;
  return is_one ? std::optional(number) : std::nullopt;
}

CLI::Validator whole_number(std::size_t least, std::size_t most) {
  return {[least, most](const std::string& text) {
            return read_whole_number(text, least, most)
                       ? std::string()
                       : fmt::format("{} is not a whole number from {} to {}", in_quotes(text),
                                     least, most);
          },
          ""};
}

}  // namespace kvcache::cli
