// A run's rows shared out among the blocks of fused_rows.cu.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cuda/fused_rows.hpp"
#include "plan/step_binding.hpp"

namespace kvcache::plan {

/// Lists that refer to each other, made anew for each run; memory is kept.
class RowsLists {
 public:
  /// Whether every row has room in a block of at most `most_tiles` tiles. `inputs` is on the host.
  /// Where the device has room for all rows at once, each is a unit of its own; more share units,
  /// so that as few as may be follow each other.
  bool make(const StepBinding& inputs, int most_tiles, int units_at_once);

  [[nodiscard]] int tiles() const noexcept { return tiles_; }  // of each block's tokens, at most

  /// What copy_to() writes.
  [[nodiscard]] std::size_t bytes() const noexcept;
  void copy_to(std::byte* to) const noexcept;
  /// Where the lists are, once what was written lies at `at` of the device.
  [[nodiscard]] kernels::RowsInputs at(const std::byte* at) const noexcept;

  [[nodiscard]] const std::vector<kernels::RowsUnit>& units() const noexcept { return units_; }
  [[nodiscard]] const std::vector<kernels::RowsToken>& tokens() const noexcept { return tokens_; }
  [[nodiscard]] const std::vector<kernels::RowsTile>& row_tiles() const noexcept {
    return row_tiles_;
  }
  [[nodiscard]] const std::vector<std::int32_t>& table() const noexcept { return table_; }
  [[nodiscard]] const std::vector<kernels::RowsLogits>& logits() const noexcept { return logits_; }

 private:
  /// A row with tokens.
  struct Row {
    std::int32_t begin;
    std::int32_t tokens;
    std::int32_t past_length;
    std::int32_t append_at;
    std::int32_t blocks;    // of the cache that it lies in
    std::int64_t table_at;  // in the run's block table
  };

  bool list_rows(const StepBinding& inputs, int most_tiles);
  [[nodiscard]] std::size_t units_of(int capacity) const;
  void choose_tiles(int most_tiles, int units_at_once);
  void fill_units(const StepBinding& inputs);
  void add_tokens(const StepBinding& inputs, const Row& row, kernels::RowsUnit& unit);
  void fill_logits(const StepBinding& inputs);

  std::int64_t block_len_ = 0;
  int tiles_ = 0;
  bool shares_blocks_ = false;
  std::int32_t longest_ = 0;
  std::vector<Row> rows_;
  std::vector<kernels::RowsUnit> units_;
  std::vector<kernels::RowsToken> tokens_;
  std::vector<kernels::RowsTile> row_tiles_;
  std::vector<std::int32_t> table_;
  std::vector<kernels::RowsLogits> logits_;
  std::vector<std::int32_t> unit_of_token_;
};

}  // namespace kvcache::plan
