#include "choices_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "program/exit_status.hpp"

namespace kvcache::cli {

std::vector<std::string> parse_choices(std::string_view text, const std::filesystem::path& file) {
  std::vector<std::string> choices;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty()) {
      throw UsageError(fmt::format("--choices: line {} of {} is empty; each line is a choice",
                                   choices.size() + 1, file.string()));
    }
    choices.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return choices;
}

}  // namespace kvcache::cli
