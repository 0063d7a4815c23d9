#include "device/cpu/cpu_step.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include "base/throw_error.hpp"
#include "device/answers_on_host.hpp"
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

CpuStep::CpuStep(const StepModel& model, const ThreadPool* threads, LogCallback log)
    : model_(model),
      threads_(threads),
      log_(std::move(log)),
      logits_(model.type, model.vocab_size) {
  for (const OutputInfo& output : model.outputs) {
    outputs_.emplace_back(model.type, output.size);
  }
}

void CpuStep::resize(const StepShape& shape) {
  captured_ = nullptr;
  runs_ = 0;
  try {
    inputs_.resize(shape.input_bytes);
    logits_.resize(shape.logits_rows);
    for (HostRows& output : outputs_) {
      output.resize(shape.logits_rows);
    }
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::out_of_memory,
                "no memory for the logits of {} tokens ({} bytes each); ask for the last ones only",
                shape.logits_rows, logits_.row_bytes());
  }
}

bool CpuStep::run(const plan::StepBinding& binding, const std::function<void()>& enqueue) {
  logits_.forget_converted();
  for (HostRows& output : outputs_) {
    output.forget_converted();
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
    const auto results = [this] {
      std::vector<std::vector<std::byte>> all{logits_.bytes()};
      for (const HostRows& output : outputs_) {
        all.push_back(output.bytes());
      }
      return all;
    };
    const auto expected = results();
    captured->run();  // writes the same keys and values to the same places
    if (results() == expected) {
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
  for (std::size_t row = 0; row < logits_.rows(); ++row) {
    if (holds_nan(model_.type, logits_.bytes().data() + row * logits_.row_bytes(),
                  model_.vocab_size)) {
      return row;
    }
  }
  return std::nullopt;
}

std::span<const float> CpuStep::row(std::size_t row) { return read(logits_, row); }

std::span<const float> CpuStep::output(std::size_t output, std::size_t row) {
  return read(outputs_[output], row);
}

std::span<const float> CpuStep::read(HostRows& rows, std::size_t row) {
  if (model_.type == DataType::float32) {
    return rows.row(row);
  }
  const std::scoped_lock lock(converting_);  // rows of one run may be read by several threads
  return rows.row(row);
}

TokenId CpuStep::argmax(std::size_t row) {
  const std::span<const float> logits = this->row(row);
  return kernels::argmax_cpu(logits.data(), static_cast<std::int64_t>(logits.size()));
}

std::vector<TokenScore> CpuStep::top_k(std::size_t k, std::size_t row, const TokenMask* allowed) {
  return top_k_on_host(this->row(row), k, allowed);
}

double CpuStep::log_sum_exp(double temperature, std::size_t row, const TokenMask* allowed) {
  return log_sum_exp_on_host(this->row(row), temperature, allowed);
}

void CpuStep::log_probabilities(std::span<const RowToken> tokens, std::span<float> found) {
  log_probabilities_on_host([this](std::size_t row) { return this->row(row); }, tokens, found);
}

}  // namespace kvcache::device
