// A run on the CPU: everything is where the host wants it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "device/cpu/host_rows.hpp"
#include "device/step.hpp"
#include "kvcache/options.hpp"
#include "plan/cpu/captured_plan.hpp"

namespace kvcache::device {

class CpuStep : public Step {
 public:
  /// `threads` run captured plans of steps of few tokens; null: none is captured.
  CpuStep(const StepModel& model, const ThreadPool* threads, LogCallback log);

  void resize(const StepShape& shape) override;
  [[nodiscard]] std::byte* host_inputs() noexcept override { return inputs_.data(); }
  [[nodiscard]] std::byte* device_inputs() noexcept override { return inputs_.data(); }
  [[nodiscard]] std::byte* device_logits() noexcept override { return logits_.bytes().data(); }
  [[nodiscard]] std::size_t logits_capacity() const noexcept override {
    return logits_.bytes().capacity();
  }
  [[nodiscard]] std::byte* device_output(std::size_t output) noexcept override {
    return outputs_[output].bytes().data();
  }
  bool run(const plan::StepBinding& binding, const std::function<void()>& enqueue) override;
  [[nodiscard]] std::optional<std::size_t> row_with_nan() const override;
  [[nodiscard]] std::span<const float> row(std::size_t row) override;
  [[nodiscard]] std::span<const float> output(std::size_t output, std::size_t row) override;
  [[nodiscard]] TokenId argmax(std::size_t row) override;
  [[nodiscard]] bool on_host() const noexcept override { return true; }
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, std::size_t row,
                                              const TokenMask* allowed) override;
  [[nodiscard]] double log_sum_exp(double temperature, std::size_t row,
                                   const TokenMask* allowed) override;
  void log_probabilities(std::span<const RowToken> tokens, std::span<float> found) override;

 private:
  void capture(const plan::StepBinding& binding, const std::function<void()>& enqueue);
  [[nodiscard]] std::span<const float> read(HostRows& rows, std::size_t row);

  StepModel model_;
  const ThreadPool* threads_;
  LogCallback log_;
  int runs_ = 0;  // of this shape
  std::unique_ptr<plan::CapturedPlan> captured_;
  std::vector<std::byte> inputs_;
  HostRows logits_;
  std::vector<HostRows> outputs_;
  std::mutex converting_;
};

}  // namespace kvcache::device
