// Whether a file is the one that was exported.
#pragma once

#include <filesystem>
#include <string>

#include "weights/weight_file.hpp"

namespace kvcache::model {

/// XXH3-128 of a file's bytes as 32 hex digits, the canonical form that `xxhsum -H2` prints.
///
/// The file is read, not mapped: hashing leaves no pages of it in the process.
/// @throws Error model_not_found when the file cannot be read
std::string file_digest(const std::filesystem::path& path);

/// The same of a file that is being mapped, keeping pace with that.
std::string digest_of(const weights::WeightFile& file);

}  // namespace kvcache::model
