// The model, the machine and the versions that figures belong to.
#pragma once

#include <string>
#include <vector>

#include "base/checked_json.hpp"
#include "report/html/markup.hpp"

namespace kvcache::report::html {

/// "gpt2, models/gpt2, float32"
std::string model_name(const JsonValue& bench);
std::string date_of(const JsonValue& bench);

/// Once for all measurements that share it.
Markup measured_where(const std::vector<JsonValue>& benches);

}  // namespace kvcache::report::html
