// Token ids as a user writes them.
#pragma once

#include <string_view>
#include <vector>

#include "kvcache/types.hpp"

namespace kvcache::cli {

/// Token ids separated by commas, spaces or both.
/// @throws UsageError naming what is not an id
std::vector<TokenId> parse_ids(std::string_view text);

}  // namespace kvcache::cli
