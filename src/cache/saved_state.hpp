// A sequence's tokens, keys and values in a file.
//
// Little-endian throughout: 8 bytes "kvcache\0", the format's version and the header's size (uint32
// each), the header (JSON: model digest, sizes, number of tokens), the tokens (int64), then for
// each pool the used part, [num_heads, tokens, head_dim]; last the XXH3-128 of all that (canonical,
// 16 bytes).
//
// Of a sequence that has given blocks back the version is 2, the header says which token is the
// first whose keys and values are there, and the parts of the pools begin with it. Where groups of
// layers give back apart the version is 3, and the header has a list of that, one for each group.
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

/// Fills `table`, which must be empty, and returns the tokens. Everything in the file is checked
/// against `model` and the checksum; the file is read once, so that it may change meanwhile.
/// @throws Error state_invalid, state_mismatch, cache_full, out_of_memory; the table is empty then
std::vector<TokenId> load_state(const std::filesystem::path& path, const ModelInfo& model,
                                BlockTable& table);

}  // namespace kvcache::cache
