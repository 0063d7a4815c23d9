// What this build is made of: what a report of a fault has to say.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace kvcache::report {

/// Names and values, in the order that they are to be read.
std::vector<std::pair<std::string, std::string>> build_facts();

}  // namespace kvcache::report
