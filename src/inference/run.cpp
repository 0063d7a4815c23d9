#include "inference/run.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/rounding.hpp"
#include "inference/few_shapes.hpp"

namespace kvcache::inference {
namespace {

constexpr std::size_t kColumns = 64;  // of a block table, unless fewer are a full sequence

RunShape shape_of(Engine& engine, std::span<const Row> rows) {
  const std::size_t block_len = engine.pool().shape().block_len;
  RunShape shape{.tokens = 0, .rows = rows.size(), .groups = engine.pool().groups().size()};
  std::size_t blocks = 0;  // of the longest row
  bool nodes_chosen = false;
  for (const Row& row : rows) {
    shape.tokens += row.tokens.size();
    blocks = std::max(blocks, divide_up(row.append_position + row.tokens.size(), block_len));
    shape.num_logits += row.num_logits();
    shape.trees |= !row.parents.empty();
    nodes_chosen |= !row.logits_nodes.empty();
  }
  // A growing sequence keeps its shape until it has twice as many blocks; a short one all along.
  const std::size_t full = divide_up(engine.info().max_seq_len, block_len);
  shape.blocks_per_row =
      std::max(blocks, std::min(full, std::bit_ceil(std::max(blocks, kColumns))));
  if (shape.num_logits == shape.tokens && !nodes_chosen) {
    shape.num_logits = 0;  // all of them
  }
  if (engine.session().backend().prefers_few_shapes()) {
    fill_up(shape, engine.info().vocab_size);
  }
  return shape;
}

/// Position in its text of each token: one further than its parent's.
void fill_positions(const Row& row, std::span<std::int64_t> positions) {
  const auto first = static_cast<std::int64_t>(row.text_position);
  if (row.parents.empty()) {
    std::iota(positions.begin(), positions.end(), first);
    return;
  }
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const std::int32_t parent = row.parents[i];
    positions[i] = parent < 0 ? first : positions[static_cast<std::size_t>(parent)] + 1;
  }
}

/// A chain among trees: each token's parent is the one before it.
void fill_parents(const Row& row, std::span<std::int32_t> parents) {
  if (row.parents.empty()) {
    std::iota(parents.begin(), parents.end(), -1);
  } else {
    std::ranges::copy(row.parents, parents.begin());
  }
}

void fill_logits_positions(const Row& row, std::size_t first_token, auto& next) {
  for (const std::size_t node : row.logits_nodes) {
    *next++ = static_cast<std::int64_t>(first_token + node);
  }
  if (!row.logits_nodes.empty()) {
    return;
  }
  const std::size_t count = row.tokens.size();
  for (std::size_t i = row.logits_for == LogitsFor::last ? count - 1 : 0; i < count; ++i) {
    *next++ = static_cast<std::int64_t>(first_token + i);
  }
}

/// What fills a run up: tokens of no row, rows without tokens, logits of the first token once more.
void fill_rest(RunInputs& inputs, const RunShape& shape, std::size_t rows,
               std::span<std::int64_t>::iterator next_logits) {
  const auto clear = [](auto values, std::size_t first, auto value) {
    std::ranges::fill(values.subspan(std::min(first, values.size())), value);
  };
  const std::size_t columns = shape.blocks_per_row;
  clear(inputs.input_ids, inputs.tokens_of_rows, 0);
  clear(inputs.position_ids, inputs.tokens_of_rows, 0);
  clear(inputs.tree_parents, inputs.tokens_of_rows, -1);
  for (std::size_t group = 0; group < shape.groups; ++group) {
    clear(inputs.block_table.subspan(group * shape.rows * columns, shape.rows * columns),
          rows * columns, 0);
  }
  clear(inputs.past_lengths, rows, 0);
  clear(inputs.append_positions, rows, 0);
  clear(inputs.row_offsets, rows + 1, static_cast<std::int32_t>(inputs.tokens_of_rows));
  std::fill(next_logits, inputs.logits_positions.end(), 0);
}

}  // namespace

std::size_t Row::num_logits() const noexcept {
  if (!logits_nodes.empty()) {
    return logits_nodes.size();
  }
  return logits_for == LogitsFor::last ? 1 : tokens.size();
}

WorkspaceLease run_rows(Engine& engine, std::span<const Row> rows) {
  const RunShape shape = shape_of(engine, rows);
  WorkspaceLease workspace = engine.lease(CacheUse::in_place, shape);
  RunInputs& inputs = workspace->prepare(shape);
  std::size_t first = 0;
  auto next_logits = inputs.logits_positions.begin();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    const std::size_t count = row.tokens.size();
    std::ranges::copy(row.tokens, inputs.input_ids.begin() + static_cast<std::ptrdiff_t>(first));
    fill_positions(row, inputs.position_ids.subspan(first, count));
    for (std::size_t group = 0; group < shape.groups; ++group) {
      row.table.write_ids(
          row.growth, group,
          inputs.block_table.subspan((group * shape.rows + r) * shape.blocks_per_row,
                                     shape.blocks_per_row));
    }
    inputs.past_lengths[r] = static_cast<std::int32_t>(row.past_length);
    if (shape.trees) {
      inputs.append_positions[r] = static_cast<std::int32_t>(row.append_position);
      fill_parents(row, inputs.tree_parents.subspan(first, count));
    }
    if (shape.num_logits > 0) {
      fill_logits_positions(row, first, next_logits);
    }
    first += count;
    if (shape.row_offsets()) {
      inputs.row_offsets[r + 1] = static_cast<std::int32_t>(first);
    }
  }
  if (shape.row_offsets()) {
    inputs.row_offsets[0] = 0;
  }
  inputs.tokens_of_rows = first;
  if (shape.filled_up) {
    fill_rest(inputs, shape, rows.size(), next_logits);
  }
  workspace->run();
  return workspace;
}

WorkspaceLease run_without_cache(Engine& engine, std::span<const TokenId> tokens,
                                 LogitsFor logits_for) {
  const bool last_only = logits_for == LogitsFor::last && tokens.size() > 1;
  const RunShape shape{.tokens = tokens.size(), .num_logits = last_only ? 1U : 0U};
  WorkspaceLease workspace = engine.lease(CacheUse::none, shape);
  RunInputs& inputs = workspace->prepare(shape);
  std::ranges::copy(tokens, inputs.input_ids.begin());
  std::iota(inputs.position_ids.begin(), inputs.position_ids.end(), std::int64_t{0});
  if (last_only) {
    inputs.logits_positions[0] = static_cast<std::int64_t>(tokens.size()) - 1;
  }
  workspace->run();
  return workspace;
}

}  // namespace kvcache::inference
