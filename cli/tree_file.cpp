#include "tree_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <system_error>

#include "base/checked_json.hpp"
#include "base/input_file.hpp"
#include "program/exit_status.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{256} << 20;
using Parents = std::numeric_limits<std::int32_t>;
using Tokens = std::numeric_limits<TokenId>;

}  // namespace

TokenTree parse_tree(std::string_view text, const std::string& name) {
  const JsonDocument document(
      text, {.name = "--tree: " + name,
             .code = ErrorCode::invalid_argument,
             .advice = "give {\"tokens\": [ids], \"parents\": [earlier nodes, or -1 for the "
                       "prefix]}"});
  TokenTree tree;
  tree.tokens = document.root().field("tokens").integers(Tokens::min(), Tokens::max());
  for (const std::int64_t parent : document.root().field("parents").integers(-1, Parents::max())) {
    tree.parents.push_back(static_cast<std::int32_t>(parent));
  }
  return tree;
}

TokenTree read_tree(const std::filesystem::path& path) {
  try {
    return parse_tree(read_file(path, kMaxBytes), path.string());
  } catch (const std::system_error& error) {
    throw UsageError(
        fmt::format("--tree: {} cannot be read: {}", path.string(), error.code().message()));
  }
}

}  // namespace kvcache::cli
