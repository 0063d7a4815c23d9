// From rows of tokens to one run of the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cache/block_table.hpp"
#include "inference/engine.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/types.hpp"

namespace kvcache::inference {

/// One row of a run: new tokens that follow `past_length` cached ones.
struct Row {
  std::span<const TokenId> tokens;
  std::span<const std::int32_t> parents;  // of a tree's nodes; empty: a chain
  std::size_t past_length;
  std::size_t text_position;    // of the first new token: past_length, and what left the text
  std::size_t append_position;  // where the first new token is written; past_length for a chain
  const cache::BlockTable& table;
  const cache::Growth& growth;
  LogitsFor logits_for;
  std::span<const std::size_t> logits_nodes = {};  // of these tokens instead, unless empty

  [[nodiscard]] std::size_t num_logits() const noexcept;
};

/// Logits of the rows, one after the other.
/// @throws Error out_of_memory, run_failed, logits_invalid
WorkspaceLease run_rows(Engine& engine, std::span<const Row> rows);

/// Runs `tokens` without the cache.
/// @throws Error out_of_memory, run_failed, logits_invalid
WorkspaceLease run_without_cache(Engine& engine, std::span<const TokenId> tokens,
                                 LogitsFor logits_for);

}  // namespace kvcache::inference
