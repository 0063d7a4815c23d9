// What is asked about logits that the host has (device/step.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "device/tokens_by_row.hpp"
#include "kernels/cpu/log_sum_exp_cpu.hpp"
#include "kvcache/constraint.hpp"
#include "kvcache/logits.hpp"

namespace kvcache::device {

/// The k tokens with the largest logits, largest first; of those that are allowed, of which there
/// are k at least. Null: all.
std::vector<TokenScore> top_k_on_host(std::span<const float> logits, std::size_t k,
                                      const TokenMask* allowed);

/// log Σ exp(logit / temperature) over the tokens that are allowed, one at least; where the largest
/// of their logits is infinite, it.
double log_sum_exp_on_host(std::span<const float> logits, double temperature,
                           const TokenMask* allowed);

/// found[i] is the log-probability of tokens[i]; `row(number)` are the logits of a row,
/// [vocab_size].
template <typename RowOf>
void log_probabilities_on_host(const RowOf& row, std::span<const RowToken> tokens,
                               std::span<float> found) {
  const TokensByRow by_row(tokens);
  for (const TokensByRow::Row& asked : by_row.rows()) {
    const std::span<const float> logits = row(asked.row);
    const float log_sum =
        kernels::log_sum_exp_cpu(logits.data(), static_cast<std::int64_t>(logits.size()));
    for (const std::size_t place : by_row.order().subspan(asked.begin, asked.end - asked.begin)) {
      found[place] = logits[static_cast<std::size_t>(tokens[place].token)] - log_sum;
    }
  }
}

}  // namespace kvcache::device
