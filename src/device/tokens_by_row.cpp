#include "device/tokens_by_row.hpp"

#include <algorithm>
#include <numeric>

namespace kvcache::device {

TokensByRow::TokensByRow(std::span<const RowToken> tokens) : order_(tokens.size()) {
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  const auto row_of = [&](std::size_t place) { return tokens[place].row; };
  if (!std::ranges::is_sorted(order_, {}, row_of)) {
    std::ranges::stable_sort(order_, {}, row_of);
  }
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const std::size_t row = row_of(order_[i]);
    if (rows_.empty() || rows_.back().row != row) {
      rows_.push_back({row, i, i});
    }
    rows_.back().end = i + 1;
  }
}

}  // namespace kvcache::device
