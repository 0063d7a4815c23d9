// Tokens whose probabilities are asked for, in the order of their rows of logits.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kvcache/logits.hpp"

namespace kvcache::device {

/// Each row once, however many of its tokens are asked for and in what order: its softmax is summed
/// once.
class TokensByRow {
 public:
  /// Part [begin, end) of order().
  struct Row {
    std::size_t row;
    std::size_t begin;
    std::size_t end;
  };

  explicit TokensByRow(std::span<const RowToken> tokens);

  /// The tokens' places in the list that was given, those of a row side by side.
  [[nodiscard]] std::span<const std::size_t> order() const noexcept { return order_; }
  [[nodiscard]] std::span<const Row> rows() const noexcept { return rows_; }

 private:
  std::vector<std::size_t> order_;
  std::vector<Row> rows_;
};

}  // namespace kvcache::device
