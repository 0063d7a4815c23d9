// Extensions of several sequences, as one run.
#include "kvcache/batch.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "error_boundary.hpp"
#include "inference/run.hpp"
#include "inference/sequence_state.hpp"
#include "kvcache/sequence.hpp"
#include "throw_error.hpp"

namespace kvcache {
namespace {

using inference::SequenceState;

/// The index of the first element that occurs before, or how many there are.
std::size_t find_repeated(std::span<SequenceState* const> states) {
  std::vector<std::pair<const SequenceState*, std::size_t>> sorted;
  sorted.reserve(states.size());
  for (std::size_t i = 0; i < states.size(); ++i) {
    sorted.emplace_back(states[i], i);
  }
  std::ranges::sort(sorted);
  std::size_t first = states.size();
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].first == sorted[i - 1].first) {
      first = std::min(first, sorted[i].second);
    }
  }
  return first;
}

void check_batch(std::span<const Extension> batch, std::span<SequenceState* const> states) {
  if (batch.empty()) {
    throw_error(ErrorCode::empty_input, "the batch is empty; at least one sequence is needed");
  }
  if (const std::size_t repeated = find_repeated(states); repeated < states.size()) {
    throw_error(ErrorCode::invalid_argument,
                "element {} of the batch is a sequence that occurs before; extend a fork of it",
                repeated);
  }
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (states[i]->engine != states[0]->engine) {
      throw_error(ErrorCode::invalid_argument,
                  "element {} of the batch is a sequence of another model than element 0", i);
    }
    states[i]->engine->check_tokens(batch[i].tokens, states[i]->tokens.size());
  }
}

}  // namespace

std::vector<Logits> extend(std::span<const Extension> batch) try {
  std::vector<SequenceState*> states;
  states.reserve(batch.size());
  for (const Extension& extension : batch) {
    states.push_back(extension.sequence->state_.get());
  }
  check_batch(batch, states);

  // Everything that can fail comes before the sequences are touched.
  std::vector<cache::Growth> growths;
  growths.reserve(batch.size());
  std::vector<inference::Row> rows;
  rows.reserve(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const std::size_t depth = states[i]->tokens.size();
    growths.push_back(states[i]->table.plan_growth(depth, batch[i].tokens.size()));
    rows.push_back({.tokens = batch[i].tokens,
                    .parents = {},
                    .past_length = depth,
                    .append_position = depth,
                    .table = states[i]->table,
                    .growth = growths.back(),
                    .logits_for = batch[i].logits_for});
  }
  const auto lease = inference::run_rows(*states.front()->engine, rows);

  std::vector<Logits> results;
  results.reserve(batch.size());
  std::size_t first = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const std::size_t count = rows[i].num_logits();
    results.emplace_back(lease, first, count);
    first += count;
    states[i]->table.apply(std::move(growths[i]));
    states[i]->tokens.insert(states[i]->tokens.end(), batch[i].tokens.begin(),
                             batch[i].tokens.end());
  }
  return results;
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace kvcache
