#include "inference/run_inputs.hpp"

#include <string_view>

#include "base/throw_error.hpp"

namespace kvcache::inference {
namespace {

[[noreturn]] void refuse(std::string_view input, std::size_t i, std::int64_t value,
                         std::int64_t first, std::size_t end) {
  throw_error(ErrorCode::run_failed,
              "{}[{}] of a run is {}, must be in [{}, {}); this is a bug of the library, please "
              "report it",
              input, i, value, first, end);
}

template <typename T>
void check_value(std::string_view input, std::span<T> values, std::size_t i, std::int64_t first,
                 std::size_t end) {
  const std::int64_t value = values[i];
  if (value < first || value >= static_cast<std::int64_t>(end)) {
    refuse(input, i, value, first, end);
  }
}

template <typename T>
void check_values(std::string_view input, std::span<T> values, std::size_t end) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    check_value(input, values, i, 0, end);
  }
}

/// One row's tokens, [begin, end) of all.
void check_row(const RunInputs& inputs, const RunShape& shape, const InputLimits& limits,
               std::size_t row, std::size_t begin, std::size_t end) {
  const std::size_t capacity = shape.blocks_per_row * limits.block_len;
  check_value("past_lengths", inputs.past_lengths, row, 0, capacity + 1);
  auto append = static_cast<std::size_t>(inputs.past_lengths[row]);
  if (shape.trees) {
    check_value("append_positions", inputs.append_positions, row, static_cast<std::int64_t>(append),
                capacity + 1);
    append = static_cast<std::size_t>(inputs.append_positions[row]);
  }
  const std::size_t used = append + (end - begin);
  if (used > capacity) {
    refuse("past_lengths", row, inputs.past_lengths[row], 0, capacity - (end - begin) + 1);
  }
  for (std::size_t group = 0; group < shape.groups; ++group) {
    const std::size_t first_block = (group * shape.rows + row) * shape.blocks_per_row;
    for (std::size_t i = 0; i * limits.block_len < used; ++i) {
      check_value("block_table", inputs.block_table, first_block + i, 0, limits.blocks[group]);
    }
  }
  for (std::size_t token = begin; shape.trees && token < end; ++token) {
    check_value("tree_parents", inputs.tree_parents, token, -1, token - begin);
  }
}

}  // namespace

void check_inputs(const RunInputs& inputs, const RunShape& shape, const InputLimits& limits) {
  check_values("input_ids", inputs.input_ids, limits.vocab_size);
  check_values("position_ids", inputs.position_ids, limits.max_seq_len);
  check_values("logits_positions", inputs.logits_positions, shape.tokens);
  if (inputs.block_table.empty()) {
    return;  // nothing is cached
  }
  std::size_t begin = 0;
  for (std::size_t row = 0; row < shape.rows; ++row) {
    std::size_t end = shape.tokens;
    if (shape.row_offsets()) {
      check_value("row_offsets", inputs.row_offsets, row, static_cast<std::int64_t>(begin),
                  begin + 1);
      check_value("row_offsets", inputs.row_offsets, row + 1, static_cast<std::int64_t>(begin),
                  shape.tokens + 1);
      end = static_cast<std::size_t>(inputs.row_offsets[row + 1]);
    }
    check_row(inputs, shape, limits, row, begin, end);
    begin = end;
  }
  const std::size_t expected = shape.filled_up ? inputs.tokens_of_rows : shape.tokens;
  if (begin != expected) {
    refuse("row_offsets", shape.rows, static_cast<std::int64_t>(begin),
           static_cast<std::int64_t>(expected), expected + 1);
  }
}

}  // namespace kvcache::inference
