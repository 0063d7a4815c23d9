// The pages of a tree of tokens and of a search.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/checked_json.hpp"

namespace kvcache::report::html {

/// A tree as kvcache eval-tree reads it.
/// @throws Error where it is none
std::string token_tree_page(const std::string& name, const JsonValue& tree);

/// One of the searches of a trace, and a list of all of them.
/// @throws Error where one of them is no search
std::string search_page(const std::string& name, const std::vector<JsonValue>& searches,
                        std::size_t chosen);

}  // namespace kvcache::report::html
