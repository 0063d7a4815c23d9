// A tokenizer from the files of a directory.
#pragma once

#include <filesystem>

#include "text/pipeline.hpp"

namespace kvcache::text {

/// Reads a tokenizer.json, or what a directory has: tokenizer.json, else vocab.json and merges.txt.
/// @throws Error model_not_found, tokenizer_invalid; std::system_error of a file that is there
Pipeline load_tokenizer(const std::filesystem::path& path);

}  // namespace kvcache::text
