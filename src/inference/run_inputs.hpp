// The inputs of a run, and what must hold of their values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "model/layer_groups.hpp"

namespace kvcache::inference {

/// The sizes of a run; a run of the same sizes as the one before needs no new binding.
struct RunShape {
  std::size_t tokens = 1;  // of all rows together, and such that fill up the run
  std::size_t rows = 1;
  std::size_t groups = 1;          // of layers: the block table has the rows of each
  std::size_t blocks_per_row = 0;  // columns of the block table; without a cache 0
  std::size_t num_logits = 0;      // positions asked for; 0: all tokens
  bool trees = false;              // tree_parents and append_positions are given
  bool filled_up = false;          // row_offsets are given though there may be one row

  [[nodiscard]] std::size_t logits_rows() const noexcept {
    return num_logits == 0 ? tokens : num_logits;
  }
  [[nodiscard]] std::size_t table_rows() const noexcept { return groups * rows; }
  [[nodiscard]] bool row_offsets() const noexcept { return rows > 1 || filled_up; }
  bool operator==(const RunShape&) const = default;
};

/// See docs/MODEL_FILE.md. The rows' tokens lie one after the other; those behind them, of a run
/// that is filled up, belong to no row: they are computed, but append nothing, and nobody reads
/// what comes of them.
struct RunInputs {
  std::span<std::int64_t> input_ids;         // [tokens]
  std::span<std::int64_t> position_ids;      // [tokens]
  std::span<std::int64_t> logits_positions;  // [num_logits]
  std::span<std::int32_t> block_table;       // [groups, rows, blocks_per_row], or empty: no cache
  std::span<std::int32_t> past_lengths;      // [rows]
  std::span<std::int32_t> append_positions;  // [rows] with trees, else empty
  std::span<std::int32_t> row_offsets;       // [rows + 1], empty for a single row, not filled up
  std::span<std::int32_t> tree_parents;      // [tokens] with trees, else empty
  std::size_t tokens_of_rows = 0;            // of a run that is filled up: those in rows
};

/// The tables that the inputs point into.
struct InputLimits {
  std::size_t vocab_size = 0;
  std::size_t max_seq_len = 0;
  std::array<std::size_t, model::kMaxLayerGroups> blocks{};  // of each group's pools
  std::size_t block_len = 0;
};

/// Checks what a wrong value of would be read or written outside a table. The CPU's nodes check it
/// too, but a run that is captured and run again calls no node, and on a GPU nobody looks.
/// @throws Error run_failed naming the input (a bug of this library)
void check_inputs(const RunInputs& inputs, const RunShape& shape, const InputLimits& limits);

}  // namespace kvcache::inference
