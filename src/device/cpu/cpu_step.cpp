#include "device/cpu/cpu_step.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>
#include <numeric>

#include "base/throw_error.hpp"
#include "device/widen.hpp"
#include "kernels/cpu/argmax_cpu.hpp"

namespace kvcache::device {

namespace {

constexpr int kRunsBeforeCapture = 1;  // whoever wants a single token should not pay for it

/// Whether one of `count` values of `type` is NaN.
bool holds_nan(DataType type, const std::byte* values, std::size_t count) {
  if (type == DataType::float32) {
    return kernels::has_nan_cpu(reinterpret_cast<const float*>(values),
                                static_cast<std::int64_t>(count));
  }
  // Above infinity, without the sign.
  const unsigned infinity = type == DataType::float16 ? 0x7C00 : 0x7F80;
  const auto* const bits = reinterpret_cast<const std::uint16_t*>(values);
  return std::any_of(bits, bits + count,
                     [&](unsigned value) { return (value & 0x7FFF) > infinity; });
}

}  // namespace

void CpuStep::resize(const StepShape& shape) {
  captured_ = nullptr;
  runs_ = 0;
  try {
    inputs_.resize(shape.input_bytes);
    logits_.resize(shape.logits_rows * row_bytes());
    widened_.clear();
    widened_.resize(model_.type == DataType::float32 ? 0 : shape.logits_rows);
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::out_of_memory,
                "no memory for the logits of {} tokens ({} bytes each); ask for the last ones only",
                shape.logits_rows, row_bytes());
  }
}

bool CpuStep::run(const plan::StepBinding& binding, const std::function<void()>& enqueue) {
  for (std::vector<float>& row : widened_) {
    row.clear();
  }
  const bool is_captured = captured_ != nullptr;
  if (is_captured) {
    captured_->run();
  } else if (threads_ != nullptr && binding.block_table != nullptr && runs_ == kRunsBeforeCapture) {
    capture(binding, enqueue);
  } else {
    enqueue();
  }
  ++runs_;
  return is_captured;
}

/// Runs once as usual, once by the plan, and keeps that if both agree to the last bit.
void CpuStep::capture(const plan::StepBinding& binding, const std::function<void()>& enqueue) {
  enqueue();
  std::string why_not;
  auto captured =
      plan::CapturedPlan::make(model_.plan, model_.weights, binding, *threads_, why_not);
  if (captured) {
    const std::vector<std::byte> expected = logits_;
    captured->run();  // writes the same keys and values to the same places
    if (logits_ == expected) {
      captured_ = std::move(captured);
      return;
    }
    enqueue();  // the keys and values once more
    why_not = "run again, it gives other logits";
  }
  if (log_) {
    log_(fmt::format("a decode step goes on node by node: {}", why_not));
  }
}

std::optional<std::size_t> CpuStep::row_with_nan() const {
  for (std::size_t row = 0; row < logits_.size() / row_bytes(); ++row) {
    if (holds_nan(model_.type, logits_.data() + row * row_bytes(), model_.vocab_size)) {
      return row;
    }
  }
  return std::nullopt;
}

std::span<const float> CpuStep::row(std::size_t row) {
  const std::byte* logits = logits_.data() + row * row_bytes();
  if (model_.type == DataType::float32) {
    return {reinterpret_cast<const float*>(logits), model_.vocab_size};
  }
  const std::scoped_lock lock(widening_);  // rows of one run may be read by several threads
  if (widened_[row].empty()) {
    widened_[row] = widen(model_.type, logits, model_.vocab_size);
  }
  return widened_[row];
}

TokenId CpuStep::argmax(std::size_t row) {
  const std::span<const float> logits = this->row(row);
  return kernels::argmax_cpu(logits.data(), static_cast<std::int64_t>(logits.size()));
}

std::vector<TokenScore> CpuStep::top_k(std::size_t k, std::size_t row) {
  const std::span<const float> logits = this->row(row);
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), TokenId{0});
  const auto logit = [&](TokenId token) { return logits[static_cast<std::size_t>(token)]; };
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(k);
  std::partial_sort(order.begin(), end, order.end(), [&](TokenId a, TokenId b) {
    return kernels::comes_before(logit(a), a, logit(b), b);
  });
  std::vector<TokenScore> best;
  best.reserve(k);
  std::transform(order.begin(), end, std::back_inserter(best), [&](TokenId token) {
    return TokenScore{token, logit(token)};
  });
  return best;
}

}  // namespace kvcache::device
