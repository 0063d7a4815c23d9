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

constexpr int kRunsBeforeRecording = 1;  // whoever wants a single token should not pay for it

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
  recorded_ = nullptr;
  runs_ = 0;
  const std::size_t row_bytes = vocab_size_ * data_type_size(type_);
  try {
    inputs_.resize(shape.input_bytes);
    logits_.resize(shape.logits_rows * row_bytes);
    widened_.clear();
    widened_.resize(type_ == DataType::float32 ? 0 : shape.logits_rows);
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::out_of_memory,
                "no memory for the logits of {} tokens ({} bytes each); ask for the last ones only",
                shape.logits_rows, row_bytes);
  }
}

bool CpuStep::run(const std::function<void()>& enqueue) {
  for (std::vector<float>& row : widened_) {
    row.clear();
  }
  const bool is_known = recorded_ != nullptr;
  if (is_known) {
    recorded_->run();
  } else if (threads_ != nullptr && runs_ == kRunsBeforeRecording) {
    record(enqueue);
  } else {
    enqueue();
  }
  ++runs_;
  return is_known;
}

/// Runs once as usual, once as recorded, and keeps the recording if both agree to the last bit.
void CpuStep::record(const std::function<void()>& enqueue) {
  std::string why_not;
  const plan::CpuRecording recording;
  enqueue();
  auto step = plan::RecordedStep::from(recording, *threads_, why_not);
  if (step) {
    const std::vector<std::byte> expected = logits_;
    step->run();  // writes the same keys and values to the same places
    if (logits_ == expected) {
      recorded_ = std::move(step);
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
  const std::size_t row_bytes = vocab_size_ * data_type_size(type_);
  const std::size_t rows = logits_.size() / row_bytes;
  for (std::size_t row = 0; row < rows; ++row) {
    if (holds_nan(type_, logits_.data() + row * row_bytes, vocab_size_)) {
      return row;
    }
  }
  return std::nullopt;
}

std::span<const float> CpuStep::row(std::size_t row) {
  const std::byte* logits = logits_.data() + row * vocab_size_ * data_type_size(type_);
  if (type_ == DataType::float32) {
    return {reinterpret_cast<const float*>(logits), vocab_size_};
  }
  const std::scoped_lock lock(widening_);  // rows of one run may be read by several threads
  if (widened_[row].empty()) {
    widened_[row] = widen(type_, logits, vocab_size_);
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
