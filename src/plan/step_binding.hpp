// Where one run has its inputs, the cache and its logits. The addresses stay while runs have one
// shape; what is there changes from run to run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kvcache/types.hpp"

namespace kvcache::plan {

/// All pointers are of the device's memory. See docs/MODEL_FILE.md for the meaning of each input.
struct StepBinding {
  const std::int64_t* input_ids = nullptr;         // [tokens]
  const std::int64_t* position_ids = nullptr;      // [tokens]
  const std::int64_t* logits_positions = nullptr;  // [num_logits], null: all tokens
  const std::int32_t* block_table = nullptr;   // [groups, rows, blocks_per_row], or null: no cache
  const std::int32_t* past_lengths = nullptr;  // [rows]
  const std::int32_t* append_positions = nullptr;  // [rows], or null
  const std::int32_t* row_offsets = nullptr;       // [rows + 1], or null
  const std::int32_t* tree_parents = nullptr;      // [tokens], or null
  std::int64_t tokens = 0;
  std::int64_t rows = 0;
  std::int64_t blocks_per_row = 0;
  std::int64_t num_logits = 0;  // rows of the logits

  std::vector<std::byte*> pools;  // each layer's keys, its values: as CachedAttentionArgs
  DataType cache_type = DataType::float32;
  std::int64_t block_len = 0;

  std::byte* logits = nullptr;      // [num_logits, vocab_size]
  std::vector<std::byte*> outputs;  // ModelInfo::outputs, each [num_logits, its size]

  // The same in memory of the host that the device can write, or null: rows are then too long to
  // be brought with every run.
  std::byte* host_logits = nullptr;
  std::vector<std::byte*> host_outputs;
};

}  // namespace kvcache::plan
