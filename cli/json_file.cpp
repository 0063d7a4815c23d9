#include "json_file.hpp"

#include <fmt/format.h>

#include <string>
#include <system_error>

#include "base/input_file.hpp"
#include "program/exit_status.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMostBytesOfText = std::size_t{256} << 20U;

}  // namespace

std::string read_text_file(const std::filesystem::path& path) {
  try {
    return read_file(path, kMostBytesOfText);
  } catch (const std::system_error& error) {
    throw UsageError(fmt::format("{} cannot be read: {}", path.string(), error.code().message()));
  }
}

std::unique_ptr<JsonDocument> read_json_file(const std::filesystem::path& path,
                                             const JsonSource& source) {
  return std::make_unique<JsonDocument>(read_text_file(path), source);
}

}  // namespace kvcache::cli
