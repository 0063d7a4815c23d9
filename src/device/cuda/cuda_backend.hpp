// A GPU as a backend.
#pragma once

#include <memory>
#include <string>

#include "device/backend.hpp"
#include "device/cuda/cuda_step.hpp"

namespace kvcache::device {

/// The current GPU with ONNX Runtime's CUDA provider; null where something is missing, and then
/// `why_not` says what.
std::shared_ptr<Backend> find_cuda_backend(const BackendOptions& options, std::string& why_not);

class CudaBackend : public Backend {
 public:
  /// @throws Error run_failed
  CudaBackend(int gpu, const BackendOptions& options);

  [[nodiscard]] Device device() const noexcept override { return Device::cuda; }
  [[nodiscard]] std::string description() const override;
  void add_to(Ort::SessionOptions& options) const override;
  [[nodiscard]] Ort::MemoryInfo memory_info() const override;
  [[nodiscard]] std::size_t pool_alignment() const noexcept override { return 256; }
  [[nodiscard]] std::unique_ptr<PoolMemory> reserve(std::size_t bytes) override;
  [[nodiscard]] std::unique_ptr<Step> new_step(const StepModel& model) override;
  [[nodiscard]] bool prefers_few_shapes() const noexcept override {
    return resources_->captures_runs;
  }

 private:
  int gpu_;
  std::shared_ptr<CudaStepResources> resources_ = std::make_shared<CudaStepResources>();
};

}  // namespace kvcache::device
