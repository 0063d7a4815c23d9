// The page of what `kvcache bench` measured: where, whether it agrees, then the speeds.
#pragma once

#include <string>
#include <vector>

#include "base/checked_json.hpp"

namespace kvcache::report::html {

/// Of one or several measurements, and of files of other runtimes (`kvcache-peers`) beside them.
/// One of both is enough.
/// @throws Error invalid_argument where a field is not what it must be
std::string bench_page(const std::vector<JsonValue>& benches, const std::vector<JsonValue>& peers);

}  // namespace kvcache::report::html
