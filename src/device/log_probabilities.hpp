// Log-probabilities of tokens whose logits the host has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "device/tokens_by_row.hpp"
#include "kernels/cpu/log_sum_exp_cpu.hpp"

namespace kvcache::device {

/// found[i] is that of tokens[i]; `row(number)` are the logits of a row, [vocab_size].
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
