// The CPU as a backend.
#pragma once

#include <memory>

#include "device/backend.hpp"
#include "device/cpu/session_threads.hpp"

namespace kvcache::device {

class CpuBackend : public Backend {
 public:
  CpuBackend() : CpuBackend(BackendOptions{}) {}
  explicit CpuBackend(const BackendOptions& options);

  [[nodiscard]] Device device() const noexcept override { return Device::cpu; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const ThreadPool* threads() const noexcept override { return threads_.get(); }
  void add_to(Ort::SessionOptions& options) const override;
  [[nodiscard]] Ort::MemoryInfo memory_info() const override;
  [[nodiscard]] std::size_t pool_alignment() const noexcept override;
  [[nodiscard]] std::unique_ptr<PoolMemory> reserve(std::size_t bytes) override;
  [[nodiscard]] std::unique_ptr<Step> new_step(const StepModel& model) override;

 private:
  int num_threads_;
  std::unique_ptr<ThreadPool> threads_;  // null: ONNX Runtime's, for all nodes
  std::unique_ptr<SessionThreads> ort_threads_;
  bool captures_steps_;
  LogCallback log_;
};

}  // namespace kvcache::device
