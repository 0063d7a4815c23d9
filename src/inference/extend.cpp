#include "inference/extend.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory_resource>
#include <utility>
#include <vector>

#include "base/throw_error.hpp"
#include "inference/run.hpp"

namespace kvcache::inference {
namespace {

/// Enough for the lists of some twenty sequences.
using LocalMemory = std::array<std::byte, 4096>;

/// The index of the first element that occurs before, or how many there are.
std::size_t find_repeated(std::span<const Addition> batch, std::pmr::memory_resource& memory) {
  std::pmr::vector<std::pair<const SequenceState*, std::size_t>> sorted(&memory);
  sorted.reserve(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    sorted.emplace_back(batch[i].state, i);
  }
  std::ranges::sort(sorted);
  std::size_t first = batch.size();
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].first == sorted[i - 1].first) {
      first = std::min(first, sorted[i].second);
    }
  }
  return first;
}

void check_batch(std::span<const Addition> batch, std::pmr::memory_resource& memory) {
  if (batch.empty()) {
    throw_error(ErrorCode::empty_input, "the batch is empty; at least one sequence is needed");
  }
  if (const std::size_t repeated = find_repeated(batch, memory); repeated < batch.size()) {
    throw_error(ErrorCode::invalid_argument,
                "element {} of the batch is a sequence that occurs before; extend a fork of it",
                repeated);
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const SequenceState& state = *batch[i].state;
    if (state.engine != batch[0].state->engine) {
      throw_error(ErrorCode::invalid_argument,
                  "element {} of the batch is a sequence of another model than element 0", i);
    }
    state.engine->check_tokens(batch[i].tokens, state.next_position());
  }
}

}  // namespace

void append(const Addition& addition, cache::Growth&& growth) noexcept {
  addition.state->table.apply(std::move(growth));
  addition.state->tokens.append(addition.tokens);
  addition.state->give_back_unseen();
}

WorkspaceLease extend(std::span<const Addition> batch) {
  alignas(std::max_align_t) LocalMemory local;
  std::pmr::monotonic_buffer_resource memory(local.data(), local.size());
  check_batch(batch, memory);

  // Everything that can fail comes before the sequences are touched.
  std::pmr::vector<cache::Growth> growths(&memory);
  growths.reserve(batch.size());
  std::pmr::vector<Row> rows(&memory);
  rows.reserve(batch.size());
  for (const Addition& addition : batch) {
    const SequenceState& state = *addition.state;
    const std::size_t depth = state.tokens.size();
    addition.state->tokens.prepare_append();
    growths.push_back(state.table.plan_growth(depth, addition.tokens.size()));
    rows.push_back({.tokens = addition.tokens,
                    .parents = {},
                    .past_length = depth,
                    .text_position = state.next_position(),
                    .append_position = depth,
                    .table = state.table,
                    .growth = growths.back(),
                    .logits_for = addition.logits_for});
  }
  WorkspaceLease lease = run_rows(*batch.front().state->engine, rows);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    append(batch[i], std::move(growths[i]));
  }
  return lease;
}

}  // namespace kvcache::inference
