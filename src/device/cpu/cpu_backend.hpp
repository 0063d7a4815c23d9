// The CPU as a backend.
#pragma once

#include "device/backend.hpp"

namespace kvcache::device {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(int num_threads = 1) : num_threads_(num_threads) {}

  [[nodiscard]] Device device() const noexcept override { return Device::cpu; }
  [[nodiscard]] std::string description() const override;
  void add_to(Ort::SessionOptions& options) const override;
  [[nodiscard]] Ort::MemoryInfo memory_info() const override;
  [[nodiscard]] std::size_t pool_alignment() const noexcept override;
  [[nodiscard]] std::unique_ptr<PoolMemory> reserve(std::size_t bytes) override;
  [[nodiscard]] std::unique_ptr<Step> new_step(DataType type, std::size_t vocab_size) override;

 private:
  int num_threads_;
};

}  // namespace kvcache::device
