#include "kvcache/logits.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "inference/engine.hpp"
#include "ops/cpu/argmax_cpu.hpp"
#include "throw_error.hpp"

namespace kvcache {

Logits::Logits(std::shared_ptr<inference::WorkspaceLease> lease, std::size_t first,
               std::size_t rows)
    : lease_(std::move(lease)), first_(first), rows_(rows) {}

std::size_t Logits::vocab_size() const noexcept { return (*lease_)->info().vocab_size; }

std::span<const float> Logits::row(std::size_t row) const {
  if (row >= rows()) {
    throw_error(ErrorCode::invalid_argument, "logits row {} was asked for, there are {}", row,
                rows());
  }
  return (*lease_)->logits_row(first_ + row);
}

TokenId Logits::argmax(std::size_t row) const {
  const std::span<const float> logits = this->row(row);
  return ops::argmax_cpu(logits.data(), static_cast<std::int64_t>(logits.size()));
}

std::vector<TokenScore> Logits::top_k(std::size_t k, std::size_t row) const {
  const std::span<const float> logits = this->row(row);
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), TokenId{0});
  const auto logit = [&](TokenId token) { return logits[static_cast<std::size_t>(token)]; };
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(k, order.size()));
  std::partial_sort(order.begin(), end, order.end(), [&](TokenId a, TokenId b) {
    return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
  });
  std::vector<TokenScore> best;
  std::transform(order.begin(), end, std::back_inserter(best), [&](TokenId token) {
    return TokenScore{token, logit(token)};
  });
  return best;
}

}  // namespace kvcache
