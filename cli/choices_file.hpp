// The file of kvcache generate --choices.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kvcache::cli {

/// Each line is a choice. A line ends with a line feed, also with a carriage return before it; the
/// last one need not. `file` is where the text is from, for messages.
/// @throws UsageError for an empty line, naming it
std::vector<std::string> parse_choices(std::string_view text, const std::filesystem::path& file);

}  // namespace kvcache::cli
