// Token ids as a user writes them.
#pragma once

#include <string_view>
#include <vector>

#include "kvcache/types.hpp"

namespace kvcache::cli {

/// Token ids separated by commas, spaces or both, given as `option`.
/// @throws UsageError naming what is not an id
std::vector<TokenId> parse_ids(std::string_view text, std::string_view option = "--ids");

}  // namespace kvcache::cli
