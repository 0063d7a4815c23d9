#include "decoding/xgrammar/find.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>
#include <system_error>

#include "base/throw_error.hpp"

#ifndef KVCACHE_XGRAMMAR_DIR
#define KVCACHE_XGRAMMAR_DIR ""
#endif

namespace kvcache::decoding::xgrammar {
namespace {

// What was tried: the bindings have no stable interface.
constexpr std::string_view kXgrammarVersion = "0.2.8";
constexpr std::string_view kTvmFfiVersion = "0.1.15.post2";
constexpr const char* kVariable = "KVCACHE_XGRAMMAR_DIR";

std::filesystem::path place_of(const std::filesystem::path& given) {
  if (!given.empty()) {
    return given;
  }
  const char* const variable = std::getenv(kVariable);  // NOLINT(concurrency-mt-unsafe)
  return variable != nullptr && *variable != '\0' ? variable : KVCACHE_XGRAMMAR_DIR;
}

}  // namespace

std::string how_to_install() {
  return fmt::format(
      "install it with pip install --no-deps xgrammar=={} apache-tvm-ffi=={}, and set {} to the "
      "directory where they are (site-packages)",
      kXgrammarVersion, kTvmFfiVersion, kVariable);
}

std::filesystem::path find_packages(const std::filesystem::path& given) {
  const std::filesystem::path place = place_of(given);
  if (place.empty()) {
    throw_error(ErrorCode::grammar_unavailable,
                "regular expressions and JSON schemas need the library xgrammar, and nothing says "
                "where it is; {}",
                how_to_install());
  }
  std::error_code error;
  // The file that pip makes of a package's name and version.
  const auto expected = place / fmt::format("xgrammar-{}.dist-info", kXgrammarVersion);
  if (!std::filesystem::exists(expected, error)) {
    throw_error(
        ErrorCode::grammar_unavailable,
        "regular expressions and JSON schemas need the library xgrammar {}, which is not in "
        "{} (there is no {}); {}",
        kXgrammarVersion, place.string(), expected.filename().string(), how_to_install());
  }
  const std::filesystem::path found = std::filesystem::canonical(place, error);
  return error ? place : found;
}

}  // namespace kvcache::decoding::xgrammar
