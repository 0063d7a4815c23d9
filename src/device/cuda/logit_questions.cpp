#include "device/cuda/logit_questions.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "device/cuda/with_type.hpp"
#include "device/tokens_by_row.hpp"
#include "kernels/cpu/argmax_cpu.hpp"
#include "kernels/cuda/exp_sums_cuda.hpp"

namespace kvcache::device {
namespace {

/// So many elements of a buffer, which grows to hold them; one at least, so that it is somewhere.
template <typename T>
std::span<T> elements(CudaBuffer<BufferPlace::host>& buffer, std::size_t count) {
  fit(buffer, std::max<std::size_t>(count, 1) * sizeof(T), "what is asked about logits");
  return {reinterpret_cast<T*>(buffer.data()), count};
}

/// log Σ exp(logit / temperature), from the sum of what is relative to the largest.
double log_sum(const kernels::AskedRow& row, double temperature) {
  const auto largest = static_cast<double>(row.largest);
  return std::isfinite(largest) ? largest / temperature + std::log(row.sum) : largest;
}

}  // namespace

/// Calls enqueue(type, mask) with a null pointer to the logits' type and the allowed tokens on the
/// device, and waits for what it put in. A token that is drawn asks several times with the same
/// mask, which goes to the device once.
template <typename Enqueue>
void LogitQuestions::ask(const char* what, const TokenMask* allowed, const Enqueue& enqueue) {
  std::span<std::uint32_t> changed;
  if (allowed != nullptr && !std::ranges::equal(allowed->words(), mask_there_)) {
    mask_there_ = {};
    changed = elements<std::uint32_t>(mask_, allowed->words().size());
    std::ranges::copy(allowed->words(), changed.begin());
    fit(mask_on_device_, changed.size_bytes(), "which tokens are allowed");
  }
  {
    const auto lock = stream_.lock();
    if (!changed.empty()) {
      check_cuda(cudaMemcpyAsync(mask_on_device_.data(), changed.data(), changed.size_bytes(),
                                 cudaMemcpyHostToDevice, stream_.get()),
                 what);
      mask_there_ = changed;
    }
    const auto* const mask =
        allowed != nullptr ? reinterpret_cast<const unsigned*>(mask_on_device_.data()) : nullptr;
    check_cuda(with_type(type_, [&](const auto* type) { return enqueue(type, mask); }), what);
    stream_.mark(answered_);
  }
  CudaStream::wait(answered_);
}

std::vector<TokenScore> LogitQuestions::top_k(std::size_t k, const std::byte* row,
                                              const TokenMask* allowed) {
  const std::scoped_lock asking(asking_);
  const std::span found = elements<kernels::TopLogit>(tokens_, k);
  ask("finding the best tokens", allowed, [&](const auto* type, const unsigned* mask) {
    return kernels::top_k_cuda(reinterpret_cast<decltype(type)>(row),
                               static_cast<std::int64_t>(vocab_size_), mask,
                               static_cast<std::int64_t>(k), found.data(), stream_.get());
  });
  std::ranges::sort(found, [](const kernels::TopLogit& a, const kernels::TopLogit& b) {
    return kernels::comes_before(a.logit, a.token, b.logit, b.token);
  });
  std::vector<TokenScore> best(k);
  std::ranges::transform(found, best.begin(), [](const kernels::TopLogit& one) {
    return TokenScore{one.token, one.logit};
  });
  return best;
}

double LogitQuestions::log_sum_exp(double temperature, const std::byte* row,
                                   const TokenMask* allowed, float largest) {
  if (!std::isfinite(largest)) {
    return largest;
  }
  const std::scoped_lock asking(asking_);
  kernels::AskedRow& asked = elements<kernels::AskedRow>(rows_, 1).front();
  asked = {.sum = 0, .row = 0, .largest = largest, .first = 0, .count = 0};
  ask("summing a softmax", allowed, [&](const auto* type, const unsigned* mask) {
    return kernels::exp_sums_cuda(reinterpret_cast<decltype(type)>(row),
                                  static_cast<std::int64_t>(vocab_size_), mask, temperature, 1,
                                  &asked, nullptr, stream_.get());
  });
  return log_sum(asked, temperature);
}

void LogitQuestions::log_probabilities(std::span<const RowToken> tokens, const std::byte* logits,
                                       std::span<const kernels::TopLogit> best,
                                       std::span<float> found) {
  if (tokens.empty()) {
    return;
  }
  const TokensByRow by_row(tokens);
  const std::scoped_lock asking(asking_);
  const std::span asked = elements<kernels::TopLogit>(tokens_, tokens.size());
  std::ranges::transform(by_row.order(), asked.begin(), [&](std::size_t place) {
    return kernels::TopLogit{static_cast<std::int32_t>(tokens[place].token), 0};
  });
  const std::span rows = elements<kernels::AskedRow>(rows_, by_row.rows().size());
  std::ranges::transform(by_row.rows(), rows.begin(), [&](const TokensByRow::Row& row) {
    return kernels::AskedRow{.sum = 0,
                             .row = static_cast<std::int64_t>(row.row),
                             .largest = best[row.row].logit,
                             .first = static_cast<std::int32_t>(row.begin),
                             .count = static_cast<std::int32_t>(row.end - row.begin)};
  });
  ask("finding tokens' log-probabilities", nullptr, [&](const auto* type, const unsigned* mask) {
    return kernels::exp_sums_cuda(
        reinterpret_cast<decltype(type)>(logits), static_cast<std::int64_t>(vocab_size_), mask, 1.0,
        static_cast<std::int64_t>(rows.size()), rows.data(), asked.data(), stream_.get());
  });
  for (const kernels::AskedRow& row : rows) {
    const double sum = log_sum(row, 1);
    for (std::int32_t i = row.first; i < row.first + row.count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      found[by_row.order()[at]] = static_cast<float>(static_cast<double>(asked[at].logit) - sum);
    }
  }
}

}  // namespace kvcache::device
