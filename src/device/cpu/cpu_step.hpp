// A run on the CPU: everything is where the host wants it.
#pragma once

#include "device/step.hpp"

namespace kvcache::device {

class CpuStep : public Step {
 public:
  CpuStep(DataType type, std::size_t vocab_size) : type_(type), vocab_size_(vocab_size) {}

  void resize(const StepShape& shape) override;
  [[nodiscard]] std::byte* host_inputs() noexcept override { return inputs_.data(); }
  [[nodiscard]] std::byte* device_inputs() noexcept override { return inputs_.data(); }
  [[nodiscard]] std::byte* device_logits() noexcept override { return logits_.data(); }
  [[nodiscard]] std::size_t logits_capacity() const noexcept override { return logits_.capacity(); }
  bool run(const std::function<void()>& enqueue) override;
  [[nodiscard]] std::span<const float> row(std::size_t row) override;
  [[nodiscard]] TokenId argmax(std::size_t row) override;
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, std::size_t row) override;

 private:
  DataType type_;
  std::size_t vocab_size_;
  std::vector<std::byte> inputs_;
  std::vector<std::byte> logits_;            // [logits_rows, vocab_size]
  std::vector<std::vector<float>> widened_;  // [logits_rows][vocab_size], empty until asked for
};

}  // namespace kvcache::device
