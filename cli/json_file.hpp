// A JSON file that was named on the command line.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/checked_json.hpp"

namespace kvcache::cli {

/// @throws UsageError where it cannot be read, Error(source.code) where it is no JSON
std::unique_ptr<JsonDocument> read_json_file(const std::filesystem::path& path,
                                             const JsonSource& source);

/// The text of such a file.
/// @throws UsageError where it cannot be read
std::string read_text_file(const std::filesystem::path& path);

}  // namespace kvcache::cli
