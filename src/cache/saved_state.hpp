// A sequence's tokens, keys and values in a file.
//
// Little-endian throughout: 8 bytes "kvcache\0", the format's version and the header's size (uint32
// each), the header (JSON: model digest, sizes, number of tokens), the tokens (int64), then for
// each pool the used part, [num_heads, tokens, head_dim]; last the XXH3-128 of all that (canonical,
// 16 bytes).
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cache/block_table.hpp"
#include "kvcache/types.hpp"

namespace kvcache::cache {

/// @throws Error state_not_saved; there is no file then, or the one that was there before
void save_state(const std::filesystem::path& path, const std::string& model_digest,
                std::span<const TokenId> tokens, const BlockTable& table);

/// Checks the file, then fills `table`, which must be empty; returns the tokens.
/// @throws Error state_invalid, state_mismatch, cache_full, out_of_memory; the table is empty then
std::vector<TokenId> load_state(const std::filesystem::path& path, const std::string& model_digest,
                                BlockTable& table);

}  // namespace kvcache::cache
