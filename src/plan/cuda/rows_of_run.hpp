// The rows of a run as its inputs on the host give them.
#pragma once

#include <cstdint>

#include "plan/step_binding.hpp"

namespace kvcache::plan {

/// A row's tokens of a run.
struct RowTokens {
  std::int64_t row;
  std::int64_t begin;
  std::int64_t end;
  std::int32_t append_at;  // of the first
  std::int32_t table_at;   // where the row's block table begins
};

template <typename Work>
void for_rows(const StepBinding& inputs, const Work& work) {
  for (std::int64_t row = 0; row < inputs.rows; ++row) {
    const std::int64_t per_row = inputs.tokens / inputs.rows;
    const bool ragged = inputs.row_offsets != nullptr;
    RowTokens of_row{};
    of_row.row = row;
    of_row.begin = ragged ? inputs.row_offsets[row] : row * per_row;
    of_row.end = ragged ? inputs.row_offsets[row + 1] : of_row.begin + per_row;
    of_row.append_at =
        (inputs.append_positions != nullptr ? inputs.append_positions : inputs.past_lengths)[row];
    of_row.table_at = static_cast<std::int32_t>(row * inputs.blocks_per_row);
    work(of_row);
  }
}

/// The tokens of a run's rows; those behind them only fill it up.
inline std::int32_t tokens_of_rows(const StepBinding& inputs) {
  return inputs.row_offsets != nullptr ? inputs.row_offsets[inputs.rows]
                                       : static_cast<std::int32_t>(inputs.tokens);
}

/// The token of a row of logits.
inline std::int64_t token_of_logits(const StepBinding& inputs, std::int64_t row) {
  return inputs.logits_positions != nullptr ? inputs.logits_positions[row] : row;
}

}  // namespace kvcache::plan
