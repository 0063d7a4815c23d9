#include "kvcache/logits.hpp"

#include <algorithm>
#include <utility>

#include "base/throw_error.hpp"
#include "inference/engine.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

constexpr Meaning kReadLogits{"the logits were not read", ErrorCode::run_failed,
                              ErrorCode::run_failed};

}  // namespace

Logits::Logits(inference::WorkspaceLease lease, std::size_t first, std::size_t rows) noexcept
    : lease_(std::move(lease)), first_(first), rows_(rows) {}

std::size_t Logits::vocab_size() const noexcept { return lease_->info().vocab_size; }

std::size_t Logits::row_of_run(std::size_t row) const {
  if (row >= rows()) {
    throw_error(ErrorCode::invalid_argument, "logits row {} was asked for, there are {}", row,
                rows());
  }
  return first_ + row;
}

std::span<const float> Logits::row(std::size_t row) const try {
  return lease_->logits().row(row_of_run(row));
} catch (...) {
  rethrow_as_error(kReadLogits);
}

TokenId Logits::argmax(std::size_t row) const try {
  return lease_->logits().argmax(row_of_run(row));
} catch (...) {
  rethrow_as_error(kReadLogits);
}

std::vector<TokenScore> Logits::top_k(std::size_t k, std::size_t row) const try {
  return lease_->logits().top_k(std::min(k, vocab_size()), row_of_run(row));
} catch (...) {
  rethrow_as_error(kReadLogits);
}

}  // namespace kvcache
