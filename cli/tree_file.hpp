// A tree of continuations in a JSON file.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "kvcache/tree.hpp"

namespace kvcache::cli {

/// The tokens and parents of `{"tokens": [...], "parents": [...]}`, each a number of its type;
/// whether they make a tree is for Sequence::evaluate() to say.
/// @throws Error invalid_argument, naming `name`, the field and what is wrong with it
TokenTree parse_tree(std::string_view text, const std::string& name);

/// The same of a file.
/// @throws also UsageError where it cannot be read
TokenTree read_tree(const std::filesystem::path& path);

}  // namespace kvcache::cli
