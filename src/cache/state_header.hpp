// What a saved state says of itself before its tokens, keys and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "cache/block_table.hpp"
#include "cache/state_file.hpp"
#include "kvcache/types.hpp"

namespace kvcache::cache {

/// Of what is written; all from 1 on are read.
constexpr std::uint32_t kNewestFormatVersion = 3;

/// What a state must have in common with the model that loads it, its length, and what it lacks.
struct StateHeader {
  std::string model_digest;
  std::size_t num_layers;
  std::size_t num_heads;
  std::size_t head_dim;
  std::size_t element_bytes;
  std::size_t tokens;
  FirstCached first_cached;  // tokens whose keys and values are the first in the file

  friend bool operator==(const StateHeader&, const StateHeader&) = default;
};

StateHeader header_of(const std::string& model_digest, const PoolShape& shape, std::size_t tokens,
                      const FirstCached& first_cached);

/// Bytes of the tokens, and of the keys and values, that follow the header.
std::size_t bytes_behind(const StateHeader& header, const BlockPool& pool);

/// Magic, format version and header. `groups`: of the pool's layers.
/// @throws std::system_error
void write_header(StateWriter& file, const StateHeader& header, std::size_t groups);

/// The format's version, after checking that it is a state at all and of one that is known here.
/// @throws Error state_invalid, state_mismatch
std::uint32_t read_version(StateReader& file, const std::filesystem::path& path);

/// What follows the version, checked against the model and the size of what is left.
/// @throws Error state_invalid, state_mismatch
StateHeader read_header(StateReader& file, std::uint32_t version, const std::filesystem::path& path,
                        const ModelInfo& model, const BlockPool& pool);

}  // namespace kvcache::cache
