// A run on the CPU: everything is where the host wants it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "device/step.hpp"
#include "kvcache/options.hpp"
#include "plan/cpu/captured_plan.hpp"

namespace kvcache::device {

class CpuStep : public Step {
 public:
  /// `threads` run captured plans of steps of few tokens; null: none is captured.
  CpuStep(const StepModel& model, const ThreadPool* threads, LogCallback log)
      : model_(model), threads_(threads), log_(std::move(log)) {}

  void resize(const StepShape& shape) override;
  [[nodiscard]] std::byte* host_inputs() noexcept override { return inputs_.data(); }
  [[nodiscard]] std::byte* device_inputs() noexcept override { return inputs_.data(); }
  [[nodiscard]] std::byte* device_logits() noexcept override { return logits_.data(); }
  [[nodiscard]] std::size_t logits_capacity() const noexcept override { return logits_.capacity(); }
  bool run(const plan::StepBinding& binding, const std::function<void()>& enqueue) override;
  [[nodiscard]] std::optional<std::size_t> row_with_nan() const override;
  [[nodiscard]] std::span<const float> row(std::size_t row) override;
  [[nodiscard]] TokenId argmax(std::size_t row) override;
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, std::size_t row) override;

 private:
  void capture(const plan::StepBinding& binding, const std::function<void()>& enqueue);
  [[nodiscard]] std::size_t row_bytes() const noexcept {
    return model_.vocab_size * data_type_size(model_.type);
  }

  StepModel model_;
  const ThreadPool* threads_;
  LogCallback log_;
  int runs_ = 0;  // of this shape
  std::unique_ptr<plan::CapturedPlan> captured_;
  std::vector<std::byte> inputs_;
  std::vector<std::byte> logits_;  // [logits_rows, vocab_size]
  std::mutex widening_;
  std::vector<std::vector<float>> widened_;  // [logits_rows][vocab_size], empty until asked for
};

}  // namespace kvcache::device
